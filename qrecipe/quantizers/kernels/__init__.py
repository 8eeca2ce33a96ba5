"""Fake quantization itself: plain reference, fused kernels, grids and layouts."""
