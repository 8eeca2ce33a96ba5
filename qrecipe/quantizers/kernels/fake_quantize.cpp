// Fake quantization of float32 on a CPU, forward and backward, in one pass each; called by native.py.
//
// A tensor is outer x size x inner values in memory, and the middle index has its own scale and offset (real units):
//     used = max(|scale|, 1e-8)        zero = -offset / used; whole zeros are rounded, then clipped to -128 .. 127
//     x_q = clip(round(x / used) + zero, lo, hi), or clip(round(x / used + zero), lo, hi) for real zeros
//     out = used * (x_q - zero)
// Rounding is half to even. Compiled without -ffast-math: values equal those of kernels/reference.py bit for bit, and
// NaN stays NaN. Sums over values are taken in pieces of fixed length, in float32, the pieces in float64 in their order:
// they do not depend on the number of threads.

#include <cmath>
#include <cstdint>

namespace {

enum Offset : int { NONE = 0, INTEGER = 1, REAL = 2 };

constexpr float SMALLEST_SCALE = 1e-8f, LOWEST_ZERO = -128.0f, HIGHEST_ZERO = 127.0f;

struct Range {
    float used, zero;
    float ratio;  // what the zero point was before rounding and clipping
    bool free;    // whether the zero point moves with it
};

Range range(const float* scale, const float* offset, int64_t index, int kind) {
    float used = std::fabs(scale[index]);
    if (used < SMALLEST_SCALE) used = SMALLEST_SCALE;
    if (kind == NONE) return {used, 0.0f, 0.0f, false};
    const float ratio = offset[index] / -used;
    if (kind == REAL) return {used, ratio, ratio, true};
    const float rounded = std::nearbyint(ratio);
    const float clipped = rounded < LOWEST_ZERO ? LOWEST_ZERO : rounded > HIGHEST_ZERO ? HIGHEST_ZERO : rounded;
    return {used, clipped, ratio, rounded >= LOWEST_ZERO && rounded <= HIGHEST_ZERO};
}

// A piece of a row: which scale, where, how many values.
struct Piece {
    int64_t index, start, length;
};

struct Pieces {
    int64_t size, inner, longest, each, count;

    Pieces(int64_t outer, int64_t size, int64_t inner, int64_t longest)
        : size(size), inner(inner), longest(longest), each((inner + longest - 1) / longest), count(outer * size * each) {}

    Piece at(int64_t number) const {
        const int64_t row = number / each, part = number % each;
        const int64_t begin = part * longest, left = inner - begin;
        return {row % size, row * inner + begin, left < longest ? left : longest};
    }
};

}  // namespace

extern "C" void fake_quantize_forward(const float* x, const float* scale, const float* offset, float* out, int64_t outer,
                                      int64_t size, int64_t inner, int64_t longest, float lo, float hi, int kind,
                                      int threads) {
    const Pieces pieces(outer, size, inner, longest);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t number = 0; number < pieces.count; ++number) {
        const Piece piece = pieces.at(number);
        const Range r = range(scale, offset, piece.index, kind);
        const float used = r.used, zero = r.zero, before = kind == REAL ? zero : 0.0f, after = zero - before;
        const float* from = x + piece.start;
        float* to = out + piece.start;
#pragma omp simd
        for (int64_t i = 0; i < piece.length; ++i) {
            const float rounded = std::nearbyint(from[i] / used + before) + after;
            const float level = rounded < lo ? lo : rounded > hi ? hi : rounded;
            to[i] = used * (level - zero);
        }
    }
}

// sums: two for each piece. Gradients of scale and offset are multiplied by factor; those that are not wanted are null.
extern "C" void fake_quantize_backward(const float* gradient, const float* x, const float* scale, const float* offset,
                                       float* to_x, float* to_scale, float* to_offset, double* sums, int64_t outer,
                                       int64_t size, int64_t inner, int64_t longest, float lo, float hi, int kind,
                                       float factor, int threads) {
    const Pieces pieces(outer, size, inner, longest);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t number = 0; number < pieces.count; ++number) {
        const Piece piece = pieces.at(number);
        const Range r = range(scale, offset, piece.index, kind);
        const float used = r.used, zero = r.zero, before = kind == REAL ? zero : 0.0f, after = zero - before;
        const float* from = x + piece.start;
        const float* given = gradient + piece.start;
        float* to = to_x + piece.start;
        float by_scale = 0.0f, outside = 0.0f;
#pragma omp simd reduction(+ : by_scale, outside)
        for (int64_t i = 0; i < piece.length; ++i) {
            const float ratio = from[i] / used;
            const float rounded = std::nearbyint(ratio + before) + after;
            const bool inside = rounded >= lo && rounded <= hi;
            const float level = rounded < lo ? lo : rounded > hi ? hi : rounded;
            by_scale += given[i] * (level - zero - (inside ? ratio : 0.0f));
            outside += inside ? 0.0f : given[i];
            to[i] = inside ? given[i] : 0.0f;
        }
        sums[2 * number] = by_scale;
        sums[2 * number + 1] = outside;
    }
    if (!to_scale) return;
    for (int64_t index = 0; index < size; ++index) {
        double by_scale = 0.0, outside = 0.0;
        for (int64_t row = index; row < outer * size; row += size)
            for (int64_t number = row * pieces.each; number < (row + 1) * pieces.each; ++number) {
                by_scale += sums[2 * number];
                outside += sums[2 * number + 1];
            }
        const Range r = range(scale, offset, index, kind);
        float by_used = static_cast<float>(by_scale);
        // zero = -offset / used: by the offset -1 / used, by the scale offset / used^2 = -ratio / used.
        const float by_zero = r.free ? -(r.used * static_cast<float>(outside)) : 0.0f;
        const float share = by_zero / r.used;
        if (to_offset) to_offset[index] = share * -factor;
        if (kind != NONE) by_used -= share * r.ratio;
        by_used *= factor;
        to_scale[index] = scale[index] < 0.0f ? -by_used : by_used;
    }
}
