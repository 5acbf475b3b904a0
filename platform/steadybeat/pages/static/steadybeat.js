// Live pages: every few seconds the page is asked for again, and what is marked data-live is replaced where it differs.
// Nothing is replaced while it has the focus, while one of its forms is open, or while nobody looks.
(function () {
  "use strict";

  const EVERY_MS = 5000;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const status = document.getElementById("sb-live");

  function sayZones(root) {
    root.querySelectorAll("time.sb-at").forEach(function (each) {
      const utc = each.dataset.utc ? each.dataset.utc + "\n" : "";
      each.title = utc + local.format(new Date(each.dateTime)) + " (" + zone + ")";
    });
  }

  function isUsed(part) {
    return part.contains(document.activeElement) || part.querySelector("details[open], .dropdown-menu.show");
  }

  function say(text, kind) {
    if (status) {
      status.innerHTML = "";
      const dot = document.createElement("span");
      dot.className = "status-dot status-dot-" + kind;
      dot.setAttribute("aria-hidden", "true");
      status.append(dot, " " + text);
    }
  }

  // A form's token is masked anew with each answer, and it says when it was made: that alone is no difference.
  function compared(markup) {
    return markup.replace(/name="(?:_xsrf|opened_at)" value="[^"]*"/g, "").replace(/ title="[^"]*"/g, "");
  }

  function replace(fresh) {
    document.querySelectorAll("[data-live]").forEach(function (part) {
      const other = fresh.querySelector('[data-live="' + part.dataset.live + '"]');
      if (other && !isUsed(part) && compared(part.innerHTML) !== compared(other.innerHTML)) {
        part.innerHTML = other.innerHTML;
        sayZones(part);
      }
    });
  }

  async function refresh() {
    if (document.hidden) {
      return;
    }
    try {
      const answer = await fetch(window.location.href, { credentials: "same-origin", headers: { "X-Live": "1" } });
      if (!answer.ok) {
        say("Not up to date: the server answers " + answer.status, "error");
        return;
      }
      if (document.querySelector("[data-code]")) {
        window.location.reload();
        return;
      }
      replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
      say("Live", "live");
    } catch (error) {
      say("Not up to date: the server does not answer", "error");
    }
  }

  sayZones(document);
  document.addEventListener("keydown", function (event) {
    const open = event.key === "Escape" && document.querySelector("details.sb-action[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  });
  document.addEventListener("click", function (event) {
    document.querySelectorAll("details.sb-action[open]").forEach(function (each) {
      if (!each.contains(event.target)) {
        each.open = false;
      }
    });
  });
  if (document.querySelector("[data-live], [data-code='503']")) {
    say("Live", "live");
    window.setInterval(refresh, EVERY_MS);
  }
}());
