"use strict";
// A dashboard's side of the page: what the server says is new, and asking it for charts.
(() => {
  const { StudyPage } = smallnets;
  const PATIENCE_MS = 30000;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let asked = new Map();
  let sent;
  let count = 0;
  let page, study, last;
  let heard = Date.now();

  // Asks for a figure, or for the "model" of all trials. One request is under way at a time, since Dash drops the answer to one that
  // another has followed; what is asked for meanwhile goes out in the next.
  function ask(name) {
    if (asked.has(name)) return asked.get(name).promise;
    const entry = {};
    entry.promise = new Promise((resolve) => (entry.resolve = resolve));
    asked.set(name, entry);
    setTimeout(send);
    return entry.promise;
  }

  function send() {
    if (sent || !asked.size) return;
    const id = ++count;
    sent = { id, asked, page };
    asked = new Map();
    dash_clientside.set_props("wanted", { data: { id, study, names: [...sent.asked.keys()] } });
    setTimeout(() => receive({ id, figures: {} }), PATIENCE_MS); // an error on the server has no answer
  }

  function receive(answer) {
    if (answer?.id !== sent?.id) return;
    const { asked: entries, page: asking } = sent;
    sent = undefined;
    if (asking === page && answer.parts) page?.say(answer.parts);
    for (const [name, { resolve }] of entries) resolve(answer.figures[name]);
    send();
  }

  function sourceOf(settings) {
    let model;
    return {
      settings: () => settings,
      figure: ask,
      model: () => (model ??= ask("model")),
      renew: () => (model = undefined),
    };
  }

  async function mount(news) {
    page?.end();
    page = undefined;
    document.documentElement.classList.remove("detailed");
    const place = document.getElementById("study");
    place.innerHTML = news?.body ?? ""; // escaped where it was made
    document.title = news?.names?.length ? news.names.join(", ") : "Studies";
    scrollTo({ top: 0, behavior: "instant" });
    if (!news?.body) return;
    [study] = news.names;
    while (!window.Plotly) await new Promise((resolve) => setTimeout(resolve, 50));
    if (place.querySelector("#page")) page = smallnets.page = new StudyPage(place.querySelector("#page"), sourceOf(news.settings));
  }

  // What the bar says: whether the server answers.
  setInterval(() => {
    const lost = Date.now() - heard > 12000;
    const pulse = document.getElementById("pulse");
    if (!pulse) return;
    pulse.textContent = lost ? "No answer from the dashboard's server" : last ? "live" : "reading ...";
    pulse.classList.toggle("lost", lost);
  }, 1000);

  const { fetch } = window;
  window.fetch = async (...request) => {
    const response = await fetch(...request);
    if (response.ok) heard = Date.now();
    return response;
  };

  window.dash_clientside = Object.assign(window.dash_clientside ?? {}, {
    smallnets: {
      tell(news) {
        const told = JSON.stringify([news?.names, news?.revisions]);
        if (told === last) return dash_clientside.no_update; // several looks can be under way at once
        last = told;
        if (news?.parts && page) {
          page.source.renew();
          page.refresh(news.parts);
        } else mount(news);
        return dash_clientside.no_update;
      },
      deliver(answer) {
        if (answer) receive(answer);
        return dash_clientside.no_update;
      },
      address(names) {
        const query = (names ?? []).map((name) => `study=${encodeURIComponent(name)}`).join("&");
        history.replaceState(null, "", query ? `?${query}` : location.pathname);
        return dash_clientside.no_update;
      },
      scheme() {
        dark.onchange = () => dash_clientside.set_props("scheme", { data: dark.matches ? "dark" : "light" });
        return dark.matches ? "dark" : "light";
      },
    },
  });
})();
