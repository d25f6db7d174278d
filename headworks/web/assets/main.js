// Puts the page together. `window.headworks` draws given cameras and rows, for checks.

const page = JSON.parse(document.querySelector("#facts").textContent);
const message = document.querySelector("#message");

function fail(text) {
  message.textContent = text;
  message.hidden = false;
  document.body.classList.add("still"); // the still picture stays
}

function start() {
  const arrays = readArrays(decodeBase64(document.querySelector("#data").textContent), page.arrays);
  const avatar = new Avatar(page.avatar, arrays);
  const canvas = document.querySelector("canvas");
  const renderer = new Renderer(canvas, page.shaders, page.maxAlpha);
  const stage = new Stage(canvas, avatar, renderer, page.framing);
  const panel = new Panel(Float64Array.from(page.resting), page.controls, page.poses);
  const player = new Player(page.sequence, arrays.sequence, panel);
  const rate = document.querySelector("#rate");
  let waiting = false, last = null, drawn = 0, since = 0, lost = false;

  function frame(now) {
    waiting = false;
    if (lost) return;
    const moving = panel.step(now);
    if (player.playing) player.step(now);
    stage.show(panel.row);
    const going = moving || player.playing;
    if (going && last !== null) stage.paced(now - last);
    last = going ? now : null;
    if (player.playing) {
      if (drawn % 6 === 0) panel.refresh();
      if (now - since > 1000) {
        rate.textContent = since ? `${Math.round((1000 * drawn) / (now - since))} pictures/s` : "";
        since = now;
        drawn = 0;
      }
      drawn++;
    } else {
      since = 0;
      rate.textContent = "";
      if (!moving && stage.scale < 1) { // at rest there is time for every pixel
        stage.show(panel.row, 1);
      }
    }
    if (going) ask();
  }
  function ask() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(frame);
  }

  stage.changed = ask;
  panel.changed = ask;
  panel.touched = () => player.pause();
  player.changed = ask;
  new ResizeObserver(ask).observe(canvas);
  canvas.addEventListener("webglcontextlost", (event) => {
    event.preventDefault();
    lost = true;
    fail("The graphics driver stopped. Waiting for it to come back …");
  });
  canvas.addEventListener("webglcontextrestored", () => {
    renderer.build();
    lost = false;
    message.hidden = true;
    document.body.classList.remove("still");
    ask();
  });
  for (const swatch of document.querySelectorAll("[name=background]")) {
    swatch.addEventListener("change", () => {
      stage.background = swatch.value.split(" ").map(Number);
      ask();
    });
  }
  document.querySelector("#front").addEventListener("click", () => { stage.home(); ask(); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target.closest("button, summary, input")) return;
    event.preventDefault();
    if (player.playing) player.pause();
    else player.play();
  });

  // For checks. driving: row of numbers; camera: {view (16, row-major), fx, fy, cx, cy, width,
  // height}; returns the canvas' RGB bytes in base64.
  window.headworks = {
    facts: page,
    avatar,
    draw(driving, camera, background = [1, 1, 1]) {
      player.pause();
      stage.draw(Float64Array.from(driving), camera, background);
      const bytes = renderer.pixels();
      let text = "";
      for (let i = 0; i < bytes.length; i += 32768) {
        text += String.fromCharCode(...bytes.subarray(i, i + 32768));
      }
      return btoa(text);
    },
    row: () => Array.from(panel.row),
    pose: (driving) => Array.from(avatar.pose(Float64Array.from(driving))),
    play: () => player.play(),
    stage,
  };
  document.body.classList.add("live");
  stage.show(panel.row);
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (page.sequence && !calm && window.location.hash !== "#still") player.play();
}

try {
  start();
} catch (error) {
  fail(`${error.message} Shown here is a still picture; a current Chrome, Edge, Firefox or Safari `
    + "with hardware acceleration shows the moving avatar.");
  console.warn(error);
}
