// Common to all widgets; the widget's own file follows in the same module.

// Creates a DOM element: `text` is its content, everything else an attribute.
function element(tag, attributes = {}, children = []) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

