// The picture of the page: a camera on a sphere around the head, turned by pointer and keyboard.

const MAX_PIXELS = 1100; // longer side of the picture; larger screens show it enlarged
const PACE_MS = 30, SLOW_MS = 45, FAST_MS = 22; // per picture
const LEAST_SCALE = 0.3;

class Stage {
  constructor(canvas, avatar, renderer, framing) {
    this.canvas = canvas;
    this.avatar = avatar;
    this.renderer = renderer;
    this.splats = new Splats(avatar);
    this.framing = framing; // centre [3], half: metres that half the picture shows
    this.home();
    this.background = [1, 1, 1];
    this.scale = 1;
    this.pace = PACE_MS; // milliseconds per picture, a running mean
    this.changed = () => {};
    this.listen();
  }

  home() {
    this.azimuth = 0;
    this.elevation = 0;
    this.zoom = 1;
  }

  // Row-major world-to-camera and intrinsics for a picture of width x height pixels.
  view(width, height) {
    const { centre, half, distance: far } = this.framing;
    const distance = (far * half) / this.zoom;
    const [sa, ca] = [Math.sin(this.azimuth), Math.cos(this.azimuth)];
    const [se, ce] = [Math.sin(this.elevation), Math.cos(this.elevation)];
    const eye = [sa * ce, se, ca * ce].map((v, i) => centre[i] + distance * v);
    const rows = [[ca, 0, -sa], [sa * se, -ce, ca * se], [-sa * ce, -se, -ca * ce]];
    const view = rows.flatMap((r) => [...r, -(r[0] * eye[0] + r[1] * eye[1] + r[2] * eye[2])]);
    const focal = (Math.min(width, height) / 2) * far;
    return {
      view: [...view, 0, 0, 0, 1], fx: focal, fy: focal, cx: width / 2, cy: height / 2, width, height,
    };
  }

  draw(row, camera, background = this.background, fine = true) {
    this.renderer.resize(camera.width, camera.height, fine);
    const shown = this.splats.project(this.avatar.pose(row), camera);
    this.renderer.draw(this.splats.sortedWords, shown, background);
  }

  // The picture for the canvas as it stands in the page; a draft while a slow device moves.
  show(row, scale = this.scale) {
    const box = this.canvas.getBoundingClientRect();
    const dense = Math.min(window.devicePixelRatio || 1, MAX_PIXELS / Math.max(box.width, box.height, 1));
    const size = (length) => Math.max(16, Math.round(length * dense * scale));
    this.draw(row, this.view(size(box.width), size(box.height)), this.background, scale === 1);
  }

  // Fewer pixels where the device is slow, more again where it is not.
  paced(milliseconds) {
    if (milliseconds > 4000) return; // the page was in the background
    // Fewer pixels would not make a network think faster.
    if (this.avatar.network) milliseconds = Math.max(0, milliseconds - this.avatar.network.spent);
    this.pace += (milliseconds > 300 ? 0.5 : 0.1) * (milliseconds - this.pace);
    if (this.pace > SLOW_MS || (this.pace < FAST_MS && this.scale < 1)) {
      const factor = Math.min(1.1, Math.max(0.5, Math.sqrt(PACE_MS / this.pace)));
      this.scale = Math.min(1, Math.max(LEAST_SCALE, this.scale * factor));
      this.pace = PACE_MS;
    }
  }

  turn(dx, dy) {
    this.azimuth = ((this.azimuth - dx + 3 * Math.PI) % (2 * Math.PI)) - Math.PI;
    this.elevation = Math.min(1.4, Math.max(-1.4, this.elevation + dy));
    this.changed();
  }

  magnify(factor) {
    this.zoom = Math.min(4, Math.max(0.5, this.zoom * factor));
    this.changed();
  }

  listen() {
    const { canvas } = this;
    const fingers = new Map();
    const spread = () => {
      const [a, b] = [...fingers.values()];
      return Math.hypot(a.x - b.x, a.y - b.y) || 1;
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      const before = fingers.size === 2 ? spread() : 0;
      const dx = event.clientX - last.x, dy = event.clientY - last.y;
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (before) this.magnify(spread() / before);
      else if (fingers.size === 1) {
        const side = Math.min(canvas.clientWidth, canvas.clientHeight) || 1;
        this.turn((2.5 * dx) / side, (2.5 * dy) / side);
      }
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
    }
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.magnify(Math.exp(-0.0015 * event.deltaY));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { this.home(); this.changed(); });
    const keys = {
      ArrowLeft: () => this.turn(-0.1, 0), ArrowRight: () => this.turn(0.1, 0),
      ArrowUp: () => this.turn(0, 0.1), ArrowDown: () => this.turn(0, -0.1),
      "+": () => this.magnify(1.1), "=": () => this.magnify(1.1), "-": () => this.magnify(1 / 1.1),
      Home: () => { this.home(); this.changed(); }, 0: () => { this.home(); this.changed(); },
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      keys[event.key]();
      event.preventDefault();
    });
  }
}
