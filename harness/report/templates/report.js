"use strict";
// Charts are drawn when they come near the screen: a run of many scenarios opens at once.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = () => window.innerWidth < 640;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = new Set();

  function skin(layout) {
    return {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "inherit", size: narrow() ? 11 : 12, color: css("--ink") },
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--ink"), size: 12 } },
    };
  }

  function fit(layout) {
    // On a phone the lane names go above their bars instead of taking a third of the width.
    const lanes = layout.yaxis && layout.yaxis.categoryarray;
    if (!lanes || !narrow()) return layout;
    const names = lanes.map((name) => ({
      x: 0, xref: "paper", xanchor: "left", y: name, yref: "y", yanchor: "bottom", yshift: 6, text: name,
      showarrow: false, font: { size: 10.5, color: css("--quiet") },
    }));
    const grow = lanes.length * 12;
    return {
      ...layout, annotations: names, height: layout.height + grow, bargap: 0.55, dragmode: false,
      margin: { ...layout.margin, l: 40, r: 6 }, yaxis: { ...layout.yaxis, showticklabels: false },
      legend: { ...layout.legend, font: { size: 10 } },
    };
  }

  function draw(node) {
    if (drawn.has(node)) return;
    drawn.add(node);
    const figure = JSON.parse(document.getElementById(node.dataset.chart).textContent);
    node.figure = figure;
    Plotly.newPlot(node, figure.data, skin(fit(figure.layout)), { responsive: true, displayModeBar: false });
  }

  function redraw() {
    for (const node of drawn) Plotly.react(node, node.figure.data, skin(fit(node.figure.layout)));
  }

  const charts = document.querySelectorAll(".chart");
  for (const node of charts) {
    const figure = JSON.parse(document.getElementById(node.dataset.chart).textContent);
    node.style.minHeight = `${figure.layout.height}px`; // no jumps while scrolling
  }
  if (location.hash === "#all" || !("IntersectionObserver" in window)) {
    charts.forEach(draw);
  } else {
    const near = new IntersectionObserver(
      (seen) => seen.filter((s) => s.isIntersecting).forEach((s) => draw(s.target)),
      { rootMargin: "400px" },
    );
    charts.forEach((c) => near.observe(c));
  }
  dark.addEventListener("change", redraw);
  let was = narrow();
  window.addEventListener("resize", () => {
    if (narrow() !== was) { was = narrow(); redraw(); }
  });
  window.addEventListener("beforeprint", () => {
    charts.forEach(draw);
    document.querySelectorAll("details.print").forEach((d) => { d.open = true; });
  });
})();
