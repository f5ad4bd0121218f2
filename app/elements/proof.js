// What speaks for and against a label: examples of both classes, the loss print over their bands, the partners.

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".proof")
  if (!root || !data) return
  const stamp = JSON.stringify(data)
  if (root.lossprintStamp === stamp) return
  root.lossprintStamp = stamp
  root.querySelector(".sides").replaceChildren(...data.sides.map(sideOf))
  const title = element("div", "heading")
  title.append(element("strong", "", "Loss print"))
  const prints = data.print ? [title, printOf(data.print), element("p", "said", data.print.said)] : []
  root.querySelector(".prints").replaceChildren(...prints)
  root.querySelector(".partners").replaceChildren(
    ...data.partners.map((group) => {
      const box = element("section")
      const title = element("div", "heading")
      title.append(element("strong", "", group.title))
      const strip = element("div", "examples")
      strip.append(...group.tiles.map((tile, at) => smallOf(tile, group.roles[at])))
      box.append(title, element("p", "aside", group.said), strip)
      return box
    }),
  )
}
