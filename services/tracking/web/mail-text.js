// Converts the HTML of an e-mail to plain text. The result has no script, style or remote picture, whatever the e-mail
// contains. A tile calls htmlToText to show a text.

const IGNORED_TAGS = new Set(
  "SCRIPT STYLE HEAD TITLE NOSCRIPT TEMPLATE IFRAME OBJECT SVG svg MATH math".split(" "),
);
const BLOCK_TAGS = new Set(
  (
    "ADDRESS ARTICLE ASIDE BLOCKQUOTE CENTER DD DIV DL DT FIELDSET FIGURE FOOTER FORM " +
    "H1 H2 H3 H4 H5 H6 HEADER HR LI MAIN NAV OL P PRE SECTION TABLE TR UL"
  ).split(" "),
);
const PARAGRAPH_TAGS = new Set("P H1 H2 H3 H4 H5 H6 UL OL TABLE BLOCKQUOTE PRE".split(" "));

const KEPT_ATTRIBUTES = [
  /\shref\s*=\s*("https?:[^"]*"|'https?:[^']*'|https?:[^\s>]+)/i,
  /\salt\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)/i,
];

export function htmlToText(html) {
  const builder = new TextBuilder();
  appendChildren(new DOMParser().parseFromString(stripAttributes(html), "text/html").body, builder, false);
  return builder.toString();
}

// Removes attributes before the HTML is parsed: the parser reports a handler or a style as a violation of the page's
// Content-Security-Policy, even if it is never applied.
function stripAttributes(html) {
  const keep = (attributes) => KEPT_ATTRIBUTES.map((pattern) => pattern.exec(attributes)?.[0] ?? "").join("");
  return html
    .replace(/<(style|script)\b[\s\S]*?<\/\1\s*>/gi, "")
    .replace(
      /<([a-z][^\s/>"'<]*)((?:"[^"]*"|'[^']*'|[^"'<>])*)>/gi,
      (_, tag, attributes) => `<${tag}${keep(attributes)}>`,
    );
}

// Builds the text: collapses spaces as a browser does, and separates blocks by line ends.
class TextBuilder {
  parts = [];
  last = "\n";
  lineEnds = 2; // at the end of the text; an empty text counts as two, so that it gets no leading line end

  append(text) {
    if (!text) return;
    this.parts.push(text);
    this.last = text.at(-1);
    this.lineEnds = /^\n*$/.test(text) ? this.lineEnds + text.length : /\n*$/.exec(text)[0].length;
  }

  appendCollapsed(text) {
    const collapsed = text.replace(/\s+/g, " ");
    this.append(this.last === "\n" || this.last === " " ? collapsed.trimStart() : collapsed);
  }

  // Ends the text with at least so many line ends.
  breakLines(count) {
    this.append("\n".repeat(Math.max(0, count - this.lineEnds)));
  }

  toString() {
    return this.parts.join("").replace(/[ \t]+\n/g, "\n").replace(/\n{3,}/g, "\n\n").trim();
  }
}

// verbatim: inside a PRE element, where spaces are kept.
function appendChildren(node, builder, verbatim) {
  for (const child of node.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) verbatim ? builder.append(child.data) : builder.appendCollapsed(child.data);
    else if (child.nodeType === Node.ELEMENT_NODE && !IGNORED_TAGS.has(child.tagName))
      appendElement(child, builder, verbatim);
  }
}

function appendElement(element, builder, verbatim) {
  const tag = element.tagName;
  if (tag === "BR") return builder.append("\n");
  if (tag === "IMG") return builder.append(element.alt.trim() && `[${element.alt.trim()}]`);
  const lineEnds = PARAGRAPH_TAGS.has(tag) ? 2 : BLOCK_TAGS.has(tag) ? 1 : 0;
  builder.breakLines(lineEnds);
  if (tag === "HR") builder.append("———");
  if (tag === "LI") builder.append("• ");
  appendChildren(element, builder, verbatim || tag === "PRE");
  if (tag === "A") builder.append(linkTarget(element));
  if (tag === "TD" || tag === "TH") builder.append("  ");
  builder.breakLines(lineEnds);
}

// The host of a link, unless the link's own text shows it: a text may name another site than its target.
function linkTarget(link) {
  const host = /^https?:\/\/([^/?#\s]+)/i.exec(link.getAttribute("href") ?? "")?.[1];
  return host && !link.textContent.includes(host) ? ` (${host})` : "";
}
