// Turns each pair of pictures into one with a movable divider. Without it they stand side by side.
for (const pair of document.querySelectorAll("[data-divider]")) {
  const slider = document.createElement("input");
  slider.type = "range";
  slider.min = 0;
  slider.max = 100;
  slider.step = 1;
  slider.setAttribute("aria-label", pair.dataset.divider);
  const show = (percent) => {
    slider.value = percent;
    pair.style.setProperty("--at", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " % ground truth");
  };
  slider.addEventListener("input", () => show(slider.value));
  const handle = document.createElement("span");
  handle.className = "handle";
  handle.setAttribute("aria-hidden", "true");
  const follow = (event) => {
    const box = pair.getBoundingClientRect();
    show((100 * (event.clientX - box.left)) / box.width);
  };
  pair.addEventListener("pointerdown", (event) => {
    pair.setPointerCapture(event.pointerId);
    follow(event);
    slider.focus({ preventScroll: true });
    event.preventDefault();
  });
  pair.addEventListener("pointermove", (event) => {
    if (pair.hasPointerCapture(event.pointerId)) follow(event);
  });
  const image = pair.querySelector("img");
  pair.style.setProperty("--ratio", image.getAttribute("height") / image.getAttribute("width"));
  pair.append(handle, slider);
  pair.classList.add("live");
  show(50);
}
