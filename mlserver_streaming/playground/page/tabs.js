// Tabs as https://www.w3.org/WAI/ARIA/apg/patterns/tabs/ has them: one stop for Tab, arrows between them.

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

/** @param {HTMLElement} list of tabs; each names its panel. */
export function setUpTabs(list) {
  const tabs = [...list.querySelectorAll("[role=tab]")];

  function select(tab) {
    for (const each of tabs) {
      const chosen = each === tab;
      each.setAttribute("aria-selected", String(chosen));
      each.tabIndex = chosen ? 0 : -1;
      document.getElementById(each.getAttribute("aria-controls")).hidden = !chosen;
    }
    history.replaceState(null, "", `#${tab.id.replace("tab-", "")}`);
    tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    document.dispatchEvent(new Event("tab"));
  }

  list.addEventListener("click", ({ target }) => {
    const tab = target.closest("[role=tab]");
    if (tab) select(tab);
  });
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    let to = event.key in STEPS ? (at + STEPS[event.key] + tabs.length) % tabs.length : -1;
    if (event.key === "Home") to = 0;
    if (event.key === "End") to = tabs.length - 1;
    if (to < 0) return;
    event.preventDefault();
    select(tabs[to]);
    tabs[to].focus();
  });
  const named = document.getElementById(`tab-${location.hash.slice(1)}`);
  if (named) select(named);
}
