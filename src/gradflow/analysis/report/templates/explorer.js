"use strict";
(() => {
  const data = JSON.parse(document.getElementById("profiles").textContent);
  const form = document.getElementById("explorer");
  const plot = document.getElementById("plot");
  const summary = document.getElementById("summary");
  const colors = { plain: "#D55E00", residual: "#0072B2" };
  const dashes = { plain: "dash", residual: "solid" };  // distinct without color too
  const field = (name) => form.elements.namedItem(name);
  const kind = () => data.kinds[field("kind") ? Number(field("kind").value) : 0];
  const chosen = () => data.controls.map((control) => Number(field(control.key).value));
  const numbers = (text) =>
    new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const matches = (at) =>
    data.profiles.filter((p) => p.kind === kind().name && p.at.every((place, i) => place === at[i]));

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

  function traces(profile, step) {
    const [mean, low, high] = profile.steps[step].map(numbers);
    const common = { type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false, legendgroup: profile.twin };
    const edge = { ...common, line: { width: 0, color: colors[profile.twin] } };
    return [
      { ...edge, y: low },
      { ...edge, y: high, fill: "tonexty", fillcolor: `${colors[profile.twin]}33` },
      {
        ...common, y: mean, name: profile.twin, showlegend: true, hoverinfo: "all",
        text: kind().names || [],
        hovertemplate: `${kind().name.slice(0, -1)} %{x}${kind().names ? " %{text}" : ""}: %{y:.3~g}<extra>${profile.twin}</extra>`,
        line: { width: 2.5, color: colors[profile.twin], dash: dashes[profile.twin] },
      },
    ];
  }

  function ends(profile, step) {
    const mean = numbers(profile.steps[step][0]);
    const text = (value) => (Number.isNaN(value) ? "0 or not finite" : value.toPrecision(3));
    return `${profile.twin}: ${text(mean[0])} at the first, ${text(mean[mean.length - 1])} at the last`;
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
    data.controls.forEach((control) => {
      const output = document.getElementById(`value-${control.key}`);
      if (!output) return;
      output.value = control.levels[Number(field(control.key).value)];
      field(control.key).setAttribute("aria-valuetext", `${control.label} ${output.value}`);
    });
    const boxes = [...form.querySelectorAll("[name=twin]")];
    const selected = boxes.length ? boxes.filter((box) => box.checked).map((box) => box.value) : Object.keys(colors);
    const shown = profiles.filter((p) => selected.includes(p.twin));
    const there = shown.filter((p) => step in p.steps);
    const missing = selected.filter((twin) => !there.some((p) => p.twin === twin));
    const lines = there.map((p) => ends(p, step));
    if (boxes.length && missing.length) lines.push(`${missing.join(", ")}: not measured at this step for this network`);
    summary.textContent = lines.length ? `${lines.join("; ")}.` : "No network is chosen.";
    const low = Math.min(...profiles.map((p) => p.range[0]));
    const high = Math.max(...profiles.map((p) => p.range[1]));
    const room = 0.05 * (high - low) + 0.1;
    Plotly.react(plot, there.flatMap((p) => traces(p, step)), {
      // One range for all steps, so that moving the slider shows changes.
      yaxis: { type: "log", range: [low - room, high + room], exponentformat: "power", title: { text: "gradient norm" }, automargin: true },
      xaxis: { title: { text: kind().axis }, zeroline: false },
      margin: { l: 60, r: 10, t: 30, b: 45 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      font: { size: 14, color: "#1b1f24" }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
      // On a touch screen a finger on the plot scrolls the page.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    }, { responsive: true, displaylogo: false, displayModeBar: false });
  }

  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("beforeprint", () => Plotly.relayout(plot, { width: 640, height: 340 }));
  addEventListener("afterprint", () => Plotly.relayout(plot, { width: null, height: null, autosize: true }));
  field("step").value = 0;
  draw();
})();
