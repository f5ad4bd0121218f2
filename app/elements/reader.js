// One text, whole, in a box that scrolls by itself. All of it is set through textContent.

export default function ({ data, parentElement }) {
  const page = parentElement.querySelector(".page")
  if (!page || !data) return
  page.style.setProperty("--tall", data.tall + "px")
  page.setAttribute("aria-label", data.alt)
  parentElement.querySelector(".left").textContent = data.left
  const stamp = JSON.stringify(data.turns)
  if (page.lossprintStamp === stamp) return
  page.lossprintStamp = stamp
  page.replaceChildren(wordsOf(data.turns, "words"))
  page.scrollTop = 0
}
