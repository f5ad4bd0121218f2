// One question to an expert. Data comes from datasets that nobody vetted: all text is set through textContent.
//
// An answer carries the token of the question that was on the screen. Until the next question is there, further keys are
// dropped: they would answer an image that nobody has seen yet.

const PATIENCE = 6000 // ms without an answer from the server after which the same question may be answered again

function figure(image, src) {
  const box = element("figure")
  const frame = element("div", "frame")
  box.append(frame)
  if (image.turns.length) {
    frame.classList.add("text")
    frame.tabIndex = 0 // it scrolls, also by keyboard
    frame.setAttribute("role", "region")
    frame.setAttribute("aria-label", image.alt)
    frame.append(wordsOf(image.turns, "words"))
  } else if (src) {
    const img = element("img", image.pixelated ? "pixelated" : "")
    img.alt = image.alt
    img.draggable = false
    img.dataset.id = image.id
    img.src = src
    frame.append(img)
  } else {
    const missing = element("div", "missing", image.noun + " not readable")
    missing.setAttribute("role", "img")
    missing.setAttribute("aria-label", image.alt + ", " + image.noun + " not readable")
    frame.append(missing)
  }
  if (image.title || image.note) {
    const caption = element("figcaption")
    caption.append(element("span", "", image.title), " ", element("span", "note", image.note))
    box.append(caption)
  }
  return box
}

function typing(event) {
  const at = event.composedPath()[0]
  return at instanceof HTMLElement && at.type !== "range" && (at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName))
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".card")
  if (!root || !data) return
  const find = (name) => root.querySelector("." + name)
  const state = (root.lossprint ??= { token: null, images: new Map(), spent: 0, since: 0, sent: 0 })

  // Images ------------------------------------------------------------------------------------------------
  const lost = []
  const source = (image) => {
    if (image.src) {
      state.images.delete(image.id)
      state.images.set(image.id, image.src)
    } else if (image.held && !state.images.has(image.id)) lost.push(image.id)
    return state.images.get(image.id)
  }
  const sources = data.images.map(source)
  for (const image of data.coming) {
    const src = source(image)
    if (src) new Image().src = src // decoded before it is asked for
  }
  while (state.images.size > data.hold) state.images.delete(state.images.keys().next().value)
  if (lost.length) {
    setTriggerValue("lost", { ids: lost, at: Date.now() })
    return
  }

  // The question ------------------------------------------------------------------------------------------
  const fresh = state.token !== data.token
  const stop = () => {
    if (state.since) state.spent += performance.now() - state.since
    state.since = 0
  }
  const start = () => {
    if (!document.hidden && !state.since) state.since = performance.now()
  }
  const send = (name, value) => {
    if (state.sent && performance.now() - state.sent < PATIENCE) return
    state.sent = performance.now()
    root.classList.add("busy")
    root.setAttribute("aria-busy", "true")
    setTriggerValue(name, { token: data.token, at: Date.now(), ...value })
  }
  const answer = (choice) => {
    stop()
    send("answer", { choice, comment: find("comment").value, seconds: state.spent / 1000 })
    start()
  }
  state.sent = 0
  root.classList.remove("busy")
  root.removeAttribute("aria-busy")
  if (fresh) {
    Object.assign(state, { token: data.token, spent: 0, since: 0 })
    find("comment").value = ""
    find("find").value = ""
    root.classList.remove("zoomed", "first")
    state.scale = 1
    state.first = ""
    const pictures = find("pictures")
    pictures.replaceChildren(...data.images.map((image, at) => figure(image, sources[at])))
    pictures.classList.toggle("many", data.images.length > 1)
    pictures.classList.toggle("strip", data.strip)
    const [given, suggested] = ["given", "suggested"].map((role) => data.sides.find((side) => side.role === role))
    find("left").replaceChildren(...(given ? [sideOf(given)] : []))
    find("right").replaceChildren(...(suggested ? [sideOf(suggested)] : []))
    find("between").classList.toggle("sided", data.sides.length > 0)
    find("prints").replaceChildren(...(data.print ? [printOf(data.print), element("p", "seen", data.print.said)] : []))
  }
  start()
  root.dataset.token = data.token
  find("title").textContent = data.title
  find("labels").replaceChildren(
    ...(data.given ? [element("span", "given", "given: " + data.given)] : []),
    ...(data.suggested ? ["→", element("span", "suggested", "suggested: " + data.suggested)] : []),
  )
  find("hint").textContent = data.hint
  find("about").textContent = data.about
  // A key pressed before the next image was there meant the one before: it is dropped, and that is said.
  const dropped = state.dropped ?? 0
  const keysDropped = dropped === 1 ? "1 key came" : dropped + " keys came"
  const late = dropped ? ` ${keysDropped} before this question was on the screen, and stored nothing.` : ""
  if (fresh || late) state.late = late
  state.dropped = 0
  const words = data.said + (state.late ?? "")
  if (find("said").textContent !== words) find("said").textContent = words
  find("said").classList.toggle("late", Boolean(state.late))
  find("notice").textContent = data.notice
  find("notice").hidden = !data.notice
  const share = data.of ? data.done / data.of : 0
  find("fill").style.width = 100 * share + "%"
  const track = find("track")
  track.setAttribute("aria-valuenow", String(Math.round(100 * share)))
  find("count").textContent = data.left

  const choices = find("choices")
  choices.replaceChildren(
    ...data.choices.map((choice) => {
      const button = element("button", choice.kind)
      button.type = "button"
      button.dataset.choice = choice.id
      if (choice.keys.length) {
        button.setAttribute("aria-keyshortcuts", choice.keys.join(" ").toLowerCase())
        const key = element("kbd", "", choice.keys[0])
        key.setAttribute("aria-hidden", "true")
        button.append(key)
      }
      button.append(element("span", "text", choice.text))
      button.disabled = choice.kind === "taken"
      button.onclick = () => answer(choice.id)
      return button
    }),
  )

  // Another label -----------------------------------------------------------------------------------------
  const codes = new Map(data.codes)
  const search = find("search")
  const input = find("find")
  const list = find("found")
  search.hidden = data.labels.length === 0 && !data.fresh
  input.placeholder = data.labels.length
    ? "Another label (/): type to search " + data.labels.length.toLocaleString("en")
    : "A new class (/): type its name"
  let picked = 0
  const matching = () => {
    const words = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean)
    const able = data.labels.filter((label) => words.every((word) => label.toLowerCase().includes(word)))
    const starts = (label) => (words.length && label.toLowerCase().startsWith(words[0]) ? 0 : 1)
    const found = able.sort((a, b) => starts(a) - starts(b)).slice(0, 50)
    const typed = input.value.trim().slice(0, 100)
    const known = [...data.labels, ...data.known].some((label) => label.toLowerCase() === typed.toLowerCase())
    return [
      ...found.map((label) => ["label:" + label, label]),
      ...(data.fresh && typed && !known ? [["new:" + typed, "New class “" + typed + "”"]] : []),
    ]
  }
  const paint = (open = true) => {
    const labels = open ? matching() : []
    picked = Math.max(0, Math.min(picked, labels.length - 1))
    list.hidden = labels.length === 0
    input.setAttribute("aria-expanded", String(!list.hidden))
    list.replaceChildren(
      ...labels.map(([choice, label], at) => {
        const row = element("li", "", label)
        if (codes.has(label)) row.append(" ", element("kbd", "", codes.get(label)))
        row.id = "found-" + at
        row.setAttribute("role", "option")
        row.setAttribute("aria-selected", String(at === picked))
        row.onpointerdown = (event) => {
          event.preventDefault()
          answer(choice)
          input.blur()
        }
        return row
      }),
    )
    if (labels.length) input.setAttribute("aria-activedescendant", "found-" + picked)
    else input.removeAttribute("aria-activedescendant")
    list.children[picked]?.scrollIntoView({ block: "nearest" })
  }
  input.onfocus = () => paint()
  input.onblur = () => paint(false)
  input.oninput = () => {
    picked = 0
    paint()
  }
  input.onkeydown = (event) => {
    const labels = matching()
    if (event.key === "ArrowDown") picked += 1
    else if (event.key === "ArrowUp") picked -= 1
    else if (event.key === "Enter" && labels.length) {
      answer(labels[picked][0])
      input.blur()
    } else if (event.key === "Escape") {
      input.value = ""
      input.blur()
    } else return
    event.preventDefault()
    event.stopPropagation()
    if (event.key.startsWith("Arrow")) paint()
  }

  // Tools and keys ----------------------------------------------------------------------------------------
  const scale = (to, event) => {
    state.scale = Math.min(12, Math.max(1, to))
    root.style.setProperty("--scale", state.scale)
    root.classList.toggle("zoomed", state.scale > 1)
    find("zoom").setAttribute("aria-pressed", String(state.scale > 1))
    if (event) follow(event)
  }
  const zoomed = (event) => scale(root.classList.contains("zoomed") ? 1 : 3, event)
  const follow = (event) => {
    for (const image of root.querySelectorAll(".frame img")) {
      const box = image.parentElement.getBoundingClientRect()
      const x = (100 * (event.clientX - box.left)) / box.width
      const y = (100 * (event.clientY - box.top)) / box.height
      image.style.transformOrigin = `${Math.min(100, Math.max(0, x))}% ${Math.min(100, Math.max(0, y))}%`
    }
  }
  find("zoom").setAttribute("aria-pressed", String(root.classList.contains("zoomed")))
  find("light").hidden = find("zoom").hidden = data.images.every((image) => image.noun === "text")
  find("skip").onclick = () => send("skip", {})
  find("undo").onclick = () => send("undo", {})
  find("redo").onclick = () => send("redo", {})
  find("zoom").onclick = () => zoomed()
  find("pictures").ondblclick = zoomed
  // Wheel and two fingers zoom; of a zoomed image the pointer shows its place.
  const pictures = find("pictures")
  const fingers = new Map()
  const apart = () => {
    const [one, two] = [...fingers.values()]
    return Math.max(1, Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY))
  }
  pictures.onwheel = (event) => {
    if (!root.classList.contains("zoomed") && !event.ctrlKey) return // the page scrolls on
    event.preventDefault()
    scale((state.scale ?? 1) * (event.deltaY < 0 ? 1.2 : 1 / 1.2), event)
  }
  pictures.onpointerdown = (event) => fingers.set(event.pointerId, event)
  pictures.onpointerup = pictures.onpointercancel = pictures.onpointerleave = (event) => fingers.delete(event.pointerId)
  pictures.onpointermove = (event) => {
    const before = fingers.size === 2 && fingers.has(event.pointerId) ? apart() : 0
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, event)
    if (before) scale(((state.scale ?? 1) * apart()) / before, event)
    else if (root.classList.contains("zoomed")) follow(event)
  }
  for (const name of ["brightness", "contrast"])
    find(name).oninput = () => root.style.setProperty(`--${name}`, find(name).value)
  find("plain").onclick = () => {
    for (const name of ["brightness", "contrast"]) {
      find(name).value = 1
      root.style.setProperty(`--${name}`, 1)
    }
  }
  find("comment").onkeydown = (event) => {
    if (event.key === "Enter" || event.key === "Escape") event.target.blur()
  }

  const keys = new Map()
  for (const [label, code] of codes) keys.set(code, () => answer("label:" + label))
  for (const choice of data.choices.filter((one) => one.kind !== "taken"))
    for (const key of choice.keys) keys.set(key.toLowerCase(), () => answer(choice.id))
  keys.set("s", () => send("skip", {}))
  keys.set(data.undo.toLowerCase(), () => send("undo", {}))
  keys.set(data.redo.toLowerCase(), () => send("redo", {}))
  keys.set("z", () => zoomed())
  keys.set("c", () => find("comment").focus())
  keys.set("/", () => !search.hidden && input.focus())
  const pressed = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented || typing(event)) return
    if (document.querySelector("[role=dialog], [data-testid=stDialog]")) return // a drawer or dialog has its own keys
    const typed = (state.first ?? "") + event.key.toLowerCase()
    const act = keys.get(typed)
    const begins = !act && typed.length === 1 && [...keys.keys()].some((key) => key.length > 1 && key[0] === typed)
    state.first = begins ? typed : ""
    root.classList.toggle("first", begins)
    if (!act && !begins) return
    if (begins) {
      event.preventDefault()
      event.stopPropagation()
      return
    }
    event.preventDefault()
    event.stopPropagation()
    if (root.classList.contains("busy")) state.dropped = (state.dropped ?? 0) + 1
    act()
  }
  const seen = () => (document.hidden ? stop() : start())
  state.forget?.() // the listeners of the question before
  document.addEventListener("keydown", pressed)
  document.addEventListener("visibilitychange", seen)
  state.forget = () => {
    document.removeEventListener("keydown", pressed)
    document.removeEventListener("visibilitychange", seen)
  }
  return () => state.forget()
}
