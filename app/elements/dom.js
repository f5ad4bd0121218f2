// Put before each component's script: a script of its own could not be imported.

function element(tag, className, text) {
  const node = document.createElement(tag)
  if (className) node.className = className
  if (text !== undefined) node.textContent = text
  return node
}

// A text as its turns, [role, what was said]: nothing in it is read as markup, and none turns the direction of another.
function wordsOf(turns, className) {
  const box = element("div", className)
  for (const [role, said] of turns) {
    if (role) box.append(element("div", "role", role))
    if (!said) continue
    const body = element("div", "turn", said)
    body.dir = "auto"
    box.append(body)
  }
  return box
}
