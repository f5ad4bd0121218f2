// One image, large, or two side by side that move together, with their difference. Alternative texts are set as text.

export default function ({ data, parentElement }) {
  const row = parentElement.querySelector(".row")
  if (!row || !data) return
  const tools = parentElement.querySelector(".tools")
  const find = (name) => parentElement.querySelector("." + name)
  row.style.setProperty("--limit", data.limit + "px")
  row.classList.toggle("pair", data.pictures.length > 1)

  const state = (row.lossprint ??= { src: null })
  const src = data.pictures.map((one) => one.src).join(" ")
  if (state.src !== src) {
    Object.assign(state, { src, zoom: 1, x: 0, y: 0, ...PLAIN, centre: null, span: null, apart: false })
    row.replaceChildren(
      ...data.pictures.map((one) => {
        const stage = element("div", "stage")
        stage.tabIndex = 0
        stage.setAttribute("role", "group")
        stage.setAttribute("aria-label", "Image: plus and minus zoom, arrows move, 0 fits, B and C brighten and contrast")
        stage.style.setProperty("--ratio", one.width + " / " + one.height)
        const image = element("img", one.pixelated ? "pixelated" : "")
        image.alt = one.alt
        image.src = one.src
        stage.append(image)
        if (one.deep) {
          const canvas = element("canvas")
          canvas.setAttribute("aria-hidden", "true")
          stage.append(canvas)
          stage.classList.add("deep")
        }
        const figure = element("figure")
        figure.append(stage)
        if (one.caption) figure.append(element("figcaption", "", one.caption))
        return figure
      }),
    )
  }
  const stages = [...row.querySelectorAll(".stage")]
  const look = looking(stages, state, data.pictures[0], (own) => {
    if (stages[0].clientWidth) find("percent").textContent = Math.round((100 * state.zoom) / own) + " %"
    find("brightness").value = state.brightness
    find("contrast").value = state.contrast
    find("own").disabled = own <= 1
  })
  find("in").onclick = () => look.zoom(state.zoom * 1.5)
  find("out").onclick = () => look.zoom(state.zoom / 1.5)
  find("fit").onclick = () => look.zoom(1)
  find("own").onclick = () => look.zoom(look.own())
  const crisp = find("crisp")
  const pictures = () => [...row.querySelectorAll("img, canvas")]
  const pressed = () => crisp.setAttribute("aria-pressed", String(pictures()[0].classList.contains("pixelated")))
  crisp.onclick = () => {
    for (const picture of pictures()) picture.classList.toggle("pixelated")
    pressed()
  }
  pressed()
  for (const name of ["brightness", "contrast"])
    find(name).oninput = () => {
      state[name] = Number(find(name).value)
      look.paint()
    }

  // The window, in the values of the file
  const deep = data.pictures.map((one) => one.deep)
  const base = deep.find(Boolean)
  find("window").hidden = !base
  const draw = () => {
    if (!base) return
    stages.forEach((stage, at) => deep[at] && windowed(stage.querySelector("canvas"), deep[at], state.centre, state.span))
    find("centre").value = Number(state.centre.toPrecision(6))
    find("span").value = Number(state.span.toPrecision(6))
  }
  const reset = () => {
    Object.assign(state, PLAIN)
    if (base) Object.assign(state, { centre: (base.low + base.high) / 2, span: base.high - base.low || 1 })
    draw()
    look.paint()
  }
  if (base) {
    if (state.centre === null) Object.assign(state, { centre: (base.low + base.high) / 2, span: base.high - base.low || 1 })
    find("values").textContent = `of this file's values, ${base.least.toLocaleString("en")} to ${base.greatest.toLocaleString("en")}`
    const pixel = (base.greatest - base.least) / 500
    state.level = (x, y) => {
      state.span = Math.max(pixel / 100, state.span + x * pixel)
      state.centre += y * pixel
      draw()
    }
    for (const name of ["centre", "span"])
      find(name).onchange = () => {
        const value = Number(find(name).value)
        if (Number.isFinite(value) && (name === "centre" || value > 0)) state[name] = value
        draw()
      }
  } else state.level = null
  find("plain").onclick = reset

  // How two images differ: where they are equal it is black
  const differ = find("differ")
  differ.hidden = data.pictures.length < 2
  const compare = () => {
    differ.setAttribute("aria-pressed", String(state.apart))
    row.querySelector(".difference")?.remove()
    if (!state.apart) return
    const [one, two] = row.querySelectorAll("img")
    const canvas = element("canvas", "difference pixelated")
    canvas.width = one.naturalWidth
    canvas.height = one.naturalHeight
    const pen = canvas.getContext("2d")
    pen.drawImage(one, 0, 0)
    pen.globalCompositeOperation = "difference"
    pen.drawImage(two, 0, 0, canvas.width, canvas.height)
    const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data
    let most = 0
    let unequal = 0
    for (let at = 0; at < pixels.length; at += 4) {
      const by = Math.max(pixels[at], pixels[at + 1], pixels[at + 2])
      most = Math.max(most, by)
      if (by) unequal += 1
    }
    canvas.setAttribute("role", "img")
    canvas.setAttribute("aria-label", "Difference of the two images")
    stages[1].append(canvas)
    canvas.style.filter = most ? `brightness(${Math.min(20, 255 / most)})` : ""
    const share = ((400 * unequal) / pixels.length).toFixed(1)
    find("said").textContent = most ? `${share} % of the pixels differ, by up to ${most} of 255.` : "No pixel differs as drawn."
  }
  differ.onclick = () => {
    state.apart = !state.apart
    find("said").textContent = ""
    compare()
    look.paint()
  }
  Promise.all([...row.querySelectorAll("img")].map((one) => one.decode().catch(() => null))).then(compare)
  draw()
  look.paint()
  tools.hidden = false
}
