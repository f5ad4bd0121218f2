export default function ({ data, parentElement }) {
  const sheet = parentElement.querySelector("dialog")
  if (!sheet || !data) return
  if (sheet.childElementCount === 1)
    for (const [title, rows] of data.sheet) {
      const list = element("dl")
      for (const [keys, text] of rows) list.append(element("dt", "", keys), element("dd", "", text))
      sheet.append(element("h2", "", title), list)
    }
  const turn = () => (sheet.open ? sheet.close() : sheet.showModal())
  parentElement.querySelector(".keys").onclick = turn
  sheet.onclick = (event) => event.target === sheet && sheet.close() // beside it
  sheet.onkeydown = (event) => {
    if (event.key === "?") turn()
    event.stopPropagation() // no answer is given below it
  }
  const pressed = (event) => {
    const at = event.composedPath()[0]
    const typing = at instanceof HTMLElement && at.type !== "range" && (at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName))
    if (event.key === "?" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) turn()
  }
  document.addEventListener("keydown", pressed)
  return () => document.removeEventListener("keydown", pressed)
}
