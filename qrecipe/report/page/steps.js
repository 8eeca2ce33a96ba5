"use strict";
(() => {
  const steppers = [...document.querySelectorAll(".stepper")].map(section => {
    const steps = [...section.querySelectorAll(".step")], where = section.querySelector(".where");
    let at = 0;
    const show = to => {
      at = (to + steps.length) % steps.length;
      steps.forEach((step, number) => step.classList.toggle("here", number === at));
      where.textContent = `${at + 1} of ${steps.length}`;
    };
    const move = by => show(at + by);
    section.querySelector(".back").addEventListener("click", () => move(-1));
    section.querySelector(".on").addEventListener("click", () => move(1));
    section.querySelector(".controls").hidden = false;
    section.classList.add("stepping");
    show(0);
    return { section, move };
  });
  const seen = ({ section }) => { const box = section.getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight; };
  document.addEventListener("keydown", event => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.target.closest(".scroll, pre")) return;
    const one = steppers.find(({ section }) => section.contains(event.target)) || steppers.find(seen);
    if (one) { one.move(by); event.preventDefault(); }
  });
})();
