"use strict";

// Keeps the page up to date: the server says which elements have changed.
(() => {
	const path = document.body.dataset.live;
	if (!path || !window.EventSource || path.endsWith("/")) return;
	const state = document.getElementById("live-state");
	const source = new EventSource(path);
	source.onopen = () => { state.textContent = "Live,"; };
	source.onerror = () => { state.textContent = source.readyState === 2 ? "Not live any more: reload. As of" : "Not live at the moment. As of"; };
	source.onmessage = (event) => {
		const update = JSON.parse(event.data);
		document.getElementById("time").textContent = update.time;
		const focused = document.activeElement && document.activeElement.closest("tr[id]"); // which may be replaced
		const made = {};
		for (const [id, html] of Object.entries(update.parts || {})) {
			const there = document.getElementById(id);
			if (html.startsWith("<tr id=")) {
				const body = document.createElement("tbody");
				body.innerHTML = html;
				made[id] = body.firstElementChild;
				if (there) there.replaceWith(made[id]);
			} else if (there) {
				const open = [...there.querySelectorAll("details")].map((d) => d.open);
				there.innerHTML = html;
				there.querySelectorAll("details").forEach((d, i) => { d.open = !!open[i]; });
			}
		}
		for (const [id, order] of Object.entries(update.order || {})) {
			const list = document.getElementById(id);
			const rows = order.map((row) => document.getElementById(row) || made[row]).filter(Boolean);
			list.replaceChildren(...rows);
		}
		const again = focused && document.querySelector("#" + focused.id + " a");
		if (again && again !== document.activeElement) again.focus({preventScroll: true});
	};
})();
