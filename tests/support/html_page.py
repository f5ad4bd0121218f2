"""A page of HTML as a reader and a browser would see it."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "path", "circle"}


INLINE = {"bdi", "b", "i", "span", "small", "code", "a", "time"}


class Page(HTMLParser):
    """Checks that tags are balanced, and keeps what a reader and a browser would care for."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words, self.rows, self.row = [], [], [], [], None
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in INLINE:
            self.handle_data(" ")
        if tag == "tr":
            self.row = []
        if tag in ("td", "th"):
            self.row.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag
        if tag not in INLINE:
            self.handle_data(" ")
        if tag == "tr":
            self.rows.append([" ".join(cell.split()) for cell in self.row])
            self.row = None

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)
            if self.row:
                self.row[-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]
