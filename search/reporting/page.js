"use strict";
(() => {
  const { figure, themes } = JSON.parse(document.getElementById("data").textContent);
  const chart = document.getElementById("chart");
  const readout = document.getElementById("readout");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");
  const coarse = matchMedia("(pointer: coarse)");
  const hidden = new Set();

  const theme = () => (dark.matches ? themes.dark : themes.light);

  const traces = () =>
    figure.data.map((trace) => ({
      ...trace,
      ...theme().traces[trace.meta],
      visible: !hidden.has(trace.meta === "area" ? "front" : trace.meta),
      // On a phone a hover label covers the chart: what it would say goes below.
      hoverinfo: trace.meta === "area" ? "skip" : narrow.matches ? "none" : "text",
    }));

  function layout() {
    const result = structuredClone(figure.layout);
    for (const [path, value] of Object.entries(theme().layout)) {
      const keys = path.split(".");
      const last = keys.pop();
      keys.reduce((node, key) => (node[key] ??= {}), result)[last] = value;
    }
    // A finger on the chart scrolls the page; a mouse draws the part to enlarge.
    result.dragmode = coarse.matches ? false : "zoom";
    if (coarse.matches) result.margin.t = 8; // no buttons there
    if (narrow.matches) {
      result.yaxis.title = { text: "" };
      result.margin = { ...result.margin, l: 2, r: 10 };
      result.font = { ...result.font, size: 12 };
    }
    // What a reader has enlarged stays so while colours or sizes change.
    result.uirevision = "kept";
    return result;
  }

  const config = {
    responsive: true,
    doubleClick: coarse.matches ? false : "reset", // a tap counts as two clicks there
    displayModeBar: coarse.matches ? false : "hover",
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { filename: "pareto", scale: 2 },
  };
  const draw = () => Plotly.react(chart, traces(), layout(), config);

  draw().then(() => {
    const show = (event) => {
      const point = event.points[0];
      // The text was escaped where it was made: it holds line breaks and bold type, and no one's markup.
      if (narrow.matches && point) readout.innerHTML = point.hovertext;
    };
    chart.on("plotly_hover", show);
    chart.on("plotly_click", show);
    chart.on("plotly_relayout", () => {
      // Labels at 1, 2 and 5 suit the whole range; an enlarged part is left to Plotly's own choice.
      const [low, high] = chart.layout.xaxis.range;
      const wanted = high - low > 0.7 ? figure.layout.xaxis.dtick ?? null : null;
      if ((chart.layout.xaxis.dtick ?? null) !== wanted) Plotly.relayout(chart, { "xaxis.dtick": wanted });
    });
  });
  for (const query of [dark, narrow]) query.addEventListener("change", draw);

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const kind = button.dataset.kind;
      hidden.has(kind) ? hidden.delete(kind) : hidden.add(kind);
      button.setAttribute("aria-pressed", String(!hidden.has(kind)));
      draw();
    });
  }
})();
