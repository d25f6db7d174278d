// Sliders, poses and the player: everything that changes the driving row.

const SIGNS = { share: (v) => `${Math.round(100 * v)} %`, sigma: (v) => `${v.toFixed(1)} σ`,
  angle: (v) => `${Math.round((180 / Math.PI) * v)}°` };

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

class Panel {
  // resting: the row at rest; controls, poses: as headworks/web/controls.py makes them.
  constructor(resting, controls, poses) {
    this.resting = resting;
    this.row = Float64Array.from(resting);
    this.changed = () => {}; // the row changed
    this.touched = () => {}; // ... by hand
    this.moving = null;
    this.sliders = controls.map((control) => this.slider(control));
    this.chips(poses);
  }

  slider(control) {
    const { label, low, high, unit, parts } = control;
    const input = element("input", { type: "range", min: low, max: high, step: "any", value: 0 });
    const output = element("output");
    const name = element("span", { textContent: label });
    const host = document.querySelector(`[data-group="${control.group}"]`);
    host.append(element("label", { className: "slider" }, name, input, output));
    const limit = (part, value) => Math.min(part[3], Math.max(part[2], part[1] * value));
    const made = {
      write: (value) => {
        for (const part of parts) this.row[part[0]] = this.resting[part[0]] + limit(part, value);
      },
      // The value that explains the row best, so that sliders follow a sequence.
      read: () => {
        const moved = (part) => this.row[part[0]] - this.resting[part[0]];
        const plus = parts.filter((part) => part[2] < 0 || part[1] > 0);
        const minus = parts.filter((part) => part[2] === 0 && part[1] < 0);
        const mean = (of) => of.reduce((sum, part) => sum + moved(part) / part[1], 0) / of.length;
        if (parts[0][2] < 0) return moved(parts[0]) / parts[0][1];
        return (plus.length ? mean(plus) : 0) + (minus.length ? mean(minus) : 0);
      },
      show: (value) => {
        const clamped = Math.min(high, Math.max(low, value));
        input.value = clamped;
        output.textContent = SIGNS[unit](clamped || 0);
        input.setAttribute("aria-valuetext", output.textContent);
        input.style.setProperty("--from", `${(100 * (0 - low)) / (high - low)}%`);
        input.style.setProperty("--to", `${(100 * (clamped - low)) / (high - low)}%`);
      },
    };
    input.addEventListener("input", () => {
      const value = Number(input.value); // pausing moves the sliders to where the row is
      this.moving = null;
      this.touched();
      made.write(value);
      this.refresh();
      this.changed();
    });
    // A double click brings one slider back to rest.
    input.addEventListener("dblclick", () => { made.write(0); this.refresh(); this.changed(); });
    made.show(0);
    return made;
  }

  chips(poses) {
    const host = document.querySelector("[data-poses]");
    const expressions = this.resting.length - 21;
    for (const { label, values } of poses) {
      const button = element("button", { type: "button", textContent: label });
      button.addEventListener("click", () => {
        this.touched();
        const goal = Float64Array.from(this.row);
        goal.set(this.resting.slice(0, expressions));
        for (let i = expressions + POSE.jaw; i < expressions + POSE.eyes; i++) goal[i] = this.resting[i];
        if (!values.length) goal.set(this.resting);
        for (const [index, value] of values) goal[index] = this.resting[index] + value;
        this.moving = { from: Float64Array.from(this.row), goal, start: performance.now() };
        this.changed();
      });
      host.append(button);
    }
  }

  // One step of a pose that is being taken; true while it goes on.
  step(now, duration = 260) {
    if (!this.moving) return false;
    const { from, goal, start } = this.moving;
    const t = Math.min(1, Math.max(0, (now - start) / duration));
    const eased = t * t * (3 - 2 * t);
    for (let i = 0; i < goal.length; i++) this.row[i] = from[i] + eased * (goal[i] - from[i]);
    if (t >= 1) this.moving = null;
    this.refresh();
    return true;
  }

  refresh() {
    for (const slider of this.sliders) slider.show(slider.read());
  }
}

class Player {
  // sequence: {fps, count, width, low, step} and its 16-bit rows; null without one.
  constructor(sequence, values, panel) {
    this.sequence = sequence;
    this.values = values;
    this.panel = panel;
    this.playing = false;
    this.time = 0;
    this.button = document.querySelector("#play");
    this.timeline = document.querySelector("#time");
    this.clock = document.querySelector("#clock");
    this.changed = () => {};
    if (!sequence) {
      document.querySelector(".player").hidden = true;
      return;
    }
    this.duration = Math.max(sequence.count - 1, 1) / sequence.fps;
    this.timeline.max = this.duration;
    this.timeline.step = 1 / sequence.fps;
    this.button.addEventListener("click", () => (this.playing ? this.pause() : this.play()));
    this.timeline.addEventListener("input", () => {
      this.pause();
      this.seek(Number(this.timeline.value));
      panel.refresh();
      this.changed();
    });
    this.seekOnly(0);
  }

  play() {
    if (!this.sequence) return;
    this.playing = true;
    this.panel.moving = null;
    this.last = null;
    this.label("Pause");
    this.changed();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.label("Play");
    this.panel.refresh();
  }

  label(text) {
    this.button.setAttribute("aria-label", text);
    this.button.title = `${text} (space)`;
    this.button.dataset.state = this.playing ? "playing" : "paused";
  }

  step(now) {
    if (this.last !== null) {
      this.time += Math.min((now - this.last) / 1000, 0.25);
      if (this.time > this.duration) this.time = 0;
    }
    this.last = now;
    this.seek(this.time);
  }

  seek(time) {
    const { fps, count, width, low, step } = this.sequence;
    const at = Math.min(count - 1, Math.max(0, time * fps));
    const first = Math.floor(at), next = Math.min(count - 1, first + 1), part = at - first;
    for (let i = 0; i < width; i++) {
      const a = this.values[first * width + i], b = this.values[next * width + i];
      this.panel.row[i] = low[i] + step[i] * (a + part * (b - a));
    }
    this.seekOnly(time);
  }

  seekOnly(time) {
    this.time = time;
    this.timeline.value = time;
    this.clock.textContent = `${time.toFixed(1)} / ${this.duration.toFixed(1)} s`;
    this.timeline.setAttribute("aria-valuetext", this.clock.textContent);
    this.timeline.style.setProperty("--from", "0%");
    this.timeline.style.setProperty("--to", `${(100 * time) / this.duration}%`);
  }
}
