// A click on a row of pictures shows it large; arrow keys go to the rows before and after.
{
  const rows = [...document.querySelectorAll(".zoomable .row")];
  const dialog = document.createElement("dialog");
  dialog.className = "zoom";
  dialog.innerHTML =
    '<header><b></b><button type="button" data-by="-1">previous</button>' +
    '<button type="button" data-by="1">next</button>' +
    '<button type="button" data-close>close</button></header><div class="large"></div>';
  document.body.append(dialog);
  const title = dialog.querySelector("b"), large = dialog.querySelector(".large");
  let current = 0;

  function show(number) {
    current = (number + rows.length) % rows.length;
    const row = rows[current];
    title.textContent = row.dataset.words;
    large.className = row.closest(".photos") ? "large photos" : "large";
    large.replaceChildren(...[...row.querySelectorAll("figure")].map((figure) => {
      const copy = figure.cloneNode(true);
      copy.className = "";
      return copy;
    }));
    dialog.scrollTop = 0;
  }

  rows.forEach((row, number) => row.addEventListener("click", () => {
    show(number);
    dialog.showModal();
  }));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
    const by = event.target.closest("[data-by]");
    if (by) show(current + Number(by.dataset.by));
  });
  dialog.addEventListener("close", () => rows[current].focus());
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (by) {
      event.preventDefault();
      show(current + by);
    }
  });
}
