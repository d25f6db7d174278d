// Turns each pair of pictures into one with a movable divider, and lets the second be any method's.
// Without it they stand side by side.
let groups = 0;
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
  const image = pair.querySelector("img");
  const follow = (event) => {
    const box = image.getBoundingClientRect();
    show((100 * (event.clientX - box.left)) / box.width);
  };
  pair.addEventListener("pointerdown", (event) => {
    if (event.target.closest("fieldset")) return;
    pair.setPointerCapture(event.pointerId);
    follow(event);
    slider.focus({ preventScroll: true });
    event.preventDefault();
  });
  pair.addEventListener("pointermove", (event) => {
    if (pair.hasPointerCapture(event.pointerId)) follow(event);
  });
  pair.style.setProperty("--ratio", image.getAttribute("height") / image.getAttribute("width"));
  pair.append(handle, slider);
  const answers = [...(pair.nextElementSibling?.querySelectorAll("[data-answer]") ?? [])];
  if (answers.length > 1) pair.after(choice(pair, slider, answers, groups++));
  pair.classList.add("live");
  show(50);
}

function choice(pair, slider, answers, number) {
  const [, second] = pair.querySelectorAll("figure");
  const picture = second.querySelector("img");
  const caption = second.querySelector("figcaption");
  const field = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = "Compare the ground truth with";
  field.append(legend);
  answers.forEach((answer, index) => {
    const name = answer.dataset.answer;
    const radio = document.createElement("input");
    radio.type = "radio";
    radio.name = "answer" + number;
    radio.checked = index === 0;
    radio.addEventListener("change", () => {
      const own = answer.querySelector("img");
      picture.src = own.getAttribute("src");
      picture.alt = own.alt;
      caption.textContent = name;
      slider.setAttribute("aria-label", pair.dataset.divider.replace(/avatar$/, name));
    });
    const words = document.createElement("label");
    words.append(radio, " " + name);
    field.append(words);
  });
  return field;
}
