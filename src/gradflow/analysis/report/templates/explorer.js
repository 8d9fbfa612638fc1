// The gradient's norm along depth: the chosen network, step by step.
{
  const data = JSON.parse(document.getElementById("profiles").textContent);
  const form = document.getElementById("explorer");
  const plot = document.getElementById("plot");
  const summary = document.getElementById("summary");
  const play = document.getElementById("play");
  const field = (name) => form.elements.namedItem(name);
  const kind = () => data.kinds[field("kind") ? Number(field("kind").value) : 0];
  const numbers = (text) =>
    new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const chosen = () => data.controls.map((control) => Number(field(control.key).value));
  const matches = (at) =>
    data.profiles.filter((p) => p.kind === kind().name && p.at.every((place, i) => place === at[i]));
  let timer = 0;

  // Not every combination was run: the other controls then move to the nearest one that was.
  function found(changed) {
    let at = chosen();
    if (!matches(at).length) {
      const i = data.controls.findIndex((control) => control.key === changed);
      const own = data.profiles.filter((p) => p.kind === kind().name);
      const near = own.filter((p) => i < 0 || p.at[i] === at[i]);
      const alike = (p) => p.at.filter((place, j) => place === at[j]).length;
      const best = (near.length ? near : own).reduce((a, b) => (alike(b) > alike(a) ? b : a));
      at = best.at;
      data.controls.forEach((control, j) => { field(control.key).value = at[j]; });
    }
    return matches(at);
  }

  function ends(profile, step) {
    const middle = numbers(profile.steps[step][0]);
    const text = (value) => (Number.isNaN(value) ? "0 or not finite" : value.toPrecision(3));
    return `${profile.twin}: ${text(middle[0])} at the first, ${text(middle[middle.length - 1])} at the last`;
  }

  function draw(event) {
    const profiles = found(event && event.target.name);
    const steps = kind().steps;
    const slider = field("step");
    slider.max = steps.length - 1;
    const step = steps[Number(slider.value)];
    document.getElementById("step-control").hidden = steps.length < 2;
    document.getElementById("value-step").value = step;
    slider.setAttribute("aria-valuetext", `step ${step}`);
    for (const control of data.controls) {
      const output = document.getElementById(`value-${control.key}`);
      if (!output) continue;
      output.value = control.levels[Number(field(control.key).value)];
      field(control.key).setAttribute("aria-valuetext", `${control.label} ${output.value}`);
    }
    const boxes = [...form.querySelectorAll("[name=twin]")];
    const selected = boxes.length ? boxes.filter((box) => box.checked).map((box) => box.value) : ["plain", "residual"];
    const shown = profiles.filter((p) => selected.includes(p.twin));
    const there = shown.filter((p) => step in p.steps);
    const missing = selected.filter((twin) => !there.some((p) => p.twin === twin));
    const texts = there.map((p) => ends(p, step));
    if (boxes.length && missing.length) texts.push(`${missing.join(", ")}: not measured at this step for this network`);
    summary.textContent = texts.length ? `${texts.join("; ")}.` : "No network is chosen.";
    // One range for all steps, so that moving the slider shows changes.
    const low = Math.min(...profiles.map((p) => p.range[0])), high = Math.max(...profiles.map((p) => p.range[1]));
    const room = 0.05 * (high - low) + 0.1;
    const parts = there.map((p) => {
      const [middle, least, most] = p.steps[step].map((text) => [...numbers(text)].map((v, i) => [i, Math.log10(v)]));
      return { twin: p.twin, middle, least, most };
    });
    const longest = Math.max(1, ...parts.map((part) => part.middle.length - 1));
    const drawn = chart(plot, {
      x: { label: kind().axis, range: [0, longest], whole: true },
      y: { label: "gradient norm", range: [low - room, high + room], log: true },
      bands: parts.map((part) => ({ cls: part.twin, low: part.least, high: part.most })),
      lines: parts.map((part) => ({ cls: part.twin, points: part.middle, dash: part.twin === "plain" ? "" : "7 3" })),
    });
    plot.onpointermove = (pointer) => hover(pointer, drawn, parts, longest);
  }

  function hover(pointer, drawn, parts, longest) {
    const box = plot.getBoundingClientRect();
    const i = Math.round(drawn.x(((pointer.clientX - box.left) / box.width) * drawn.width));
    plot.querySelectorAll(".hover").forEach((part) => part.remove());
    if (i < 0 || i > longest) return;
    const values = parts.map((part) => `${part.twin} ${part.middle[i] ? shortNumber(10 ** part.middle[i][1]) : "-"}`);
    element("line", { class: "tick hover", x1: drawn.px(i), x2: drawn.px(i), y1: MARGIN.top, y2: drawn.bottom }, plot);
    const half = i > longest / 2;
    element("text", { class: "hover", x: drawn.px(i) + (half ? -6 : 6), y: MARGIN.top + 12, "text-anchor": half ? "end" : "start" },
      plot, `${kind().name.slice(0, -1)} ${kind().names ? kind().names[i] : i}: ${values.join(", ")}`);
  }

  function playing(on) {
    clearInterval(timer);
    timer = 0;
    play.setAttribute("aria-pressed", on);
    play.textContent = on ? "Pause" : "Play";
    if (!on) return;
    const slider = field("step");
    if (Number(slider.value) >= Number(slider.max)) slider.value = 0;
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      draw();
      if (Number(slider.value) >= Number(slider.max)) playing(false);
    }, 250);
  }

  // A row of the table of runs chooses its network here.
  addEventListener("run-chosen", ({ detail }) => {
    for (const control of data.controls) {
      const level = control.levels.indexOf(detail[control.key]);
      if (level >= 0) field(control.key).value = level;
    }
    draw();
  });
  play.addEventListener("click", () => playing(!timer));
  form.addEventListener("input", (event) => { playing(false); draw(event); });
  form.addEventListener("submit", (event) => event.preventDefault());
  new ResizeObserver(() => draw()).observe(plot);
  field("step").value = 0;
  draw();
}
