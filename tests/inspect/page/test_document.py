"""The page: complete, self-contained, safe, and, where a Chromium is installed, alive in a real browser."""

import html
import html.parser
import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.inspect.made import Made
from tnnquant.inspect.run import Model, load, pick_samples
from tnnquant.inspect.study import Study, study, write_page
from tnnquant.inspect.summary import summarize
from tnnquant.pipeline.shares import ShareCurve, SharePoint

CONFIG = QuantizeConfig(mean=(127.5,), scale=(1 / 127.5,))


class Checker(html.parser.HTMLParser):
    """Notes ids, links to them, tags left open, and what would be loaded from elsewhere."""

    VOID = frozenset("meta link img input br hr".split())

    def __init__(self):
        super().__init__()
        self.ids, self.links, self.open, self.foreign, self.tags = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values.get("href"))
        for name in ("src", "xlink:href") + (("href",) if tag == "link" else ()):
            if name in values and not values[name].startswith("data:"):
                self.foreign.append(values[name])

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(text):
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    assert len(set(checker.ids)) == len(checker.ids)
    assert all(link.startswith("#") and link[1:] in checker.ids for link in checker.links)
    assert not checker.foreign
    assert not re.search(r"url\(|@import|https?://", re.sub(r'"data:[^"]*"', "", text))
    return checker


@pytest.fixture
def page(inspected_files, quantized_files, pictures, tmp_path):
    model, against = load(quantized_files), load(inspected_files)
    samples = pick_samples(model, pictures, CONFIG, 4)
    result = study(model, against, samples, CONFIG, ranges=True, coverage=True)
    write_page(result, tmp_path / "page.html", seen=True)
    return tmp_path / "page.html"


def test_everything_is_there(page):
    text = page.read_text("utf-8")
    checker = check(text)
    ids = {"depth", "figures", "graph", "layers", "pictures", "inputs", "details", "reading", "made"}
    assert ids <= set(checker.ids)
    assert sum(name.startswith("layer-") for name in checker.ids) == 7
    assert checker.tags.count("img") == 8
    for word in ("Weights before and after", "minmax", "aciq-laplace", "exclude=", "Worst inputs"):
        assert word in text
    assert "<title>small - tnnquant inspect</title>" in text


def test_the_same_material_gives_the_same_bytes(inspected_files, quantized_files, pictures, tmp_path):
    pages = []
    for name in ("a", "b"):
        model, against = load(quantized_files), load(inspected_files)
        result = study(model, against, pick_samples(model, pictures, CONFIG, 3), CONFIG, ranges=True, coverage=False)
        write_page(result, tmp_path / name)
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_a_second_model_and_names_of_classes(inspected_files, quantized_files, pictures, tmp_path):
    model, against = load(quantized_files), load(inspected_files)
    samples = pick_samples(model, pictures, CONFIG, 3)
    result = study(model, against, samples, CONFIG, ranges=False, coverage=False, other=load(quantized_files))
    result.classes = ("<b>one</b>", "two")
    result.times = {"fp32": 0.004, "int8": 0.002, "other": 0.008}
    made = Made("tnnquant inspect 'a<b'", "now", ("tnnquant 1",), "a machine")
    write_page(result, tmp_path / "page.html", made=made)
    text = (tmp_path / "page.html").read_text("utf-8")
    check(text)
    assert text.count('<svg class="strip"') == 2
    assert "isolated, B" in text
    assert "2.00x faster" in text
    assert "2.00x slower" in text
    assert "tnnquant inspect &#x27;a&lt;b&#x27;" in text or "tnnquant inspect 'a&lt;b'" in text
    assert "<b>one" not in text


def test_the_curve_of_shares(inspected_files, quantized_files, pictures, tmp_path):
    model, against = load(quantized_files), load(inspected_files)
    result = study(model, against, pick_samples(model, pictures, CONFIG, 3), CONFIG, ranges=False, coverage=False)
    points = [SharePoint("fp32", 4.0, 100.0), SharePoint("default", 1.0, 90.0), SharePoint("0", 1.1, 95.0),
              SharePoint("0.3", 2.0, 98.0)]  # fmt: skip
    result.shares = ShareCurve("same class as fp32, %", True, "3 pictures", points)
    write_page(result, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "shares" in check(text).ids
    assert '<a href="#shares">fp32 share</a>' in text
    assert "fp32_share 0.3" in text
    assert "Judged on 3 pictures" in text


def test_the_worst_layers_are_marked_and_lead_to_their_details(page):
    text = page.read_text("utf-8")
    strip = text[text.index('<section id="depth"') : text.index('<section id="figures"')]
    assert strip.count('class="hit"') == 7
    assert 1 <= strip.count('class="worst"') <= 5
    ranks = re.findall(r'<a href="#(layer-\d+)" style="left:[\d.]+%" title="[^"]*">(\d)</a>', strip)
    assert sorted(rank for _, rank in ranks) == [str(number + 1) for number in range(len(ranks))]
    assert text.count('<g class="rank">') == len(ranks)


def test_layers_kept_in_fp32_have_no_charts_of_errors_they_have_not(page):
    folds = re.findall(r"<details id=.*?</details>", page.read_text("utf-8"), re.DOTALL)
    assert folds
    for fold in folds:
        assert "worst 160.0 dB" not in fold


def test_a_page_without_inputs_and_with_hostile_names(inspected, tmp_path):
    evil = '<script>alert("x")</script>'
    nodes = tuple(node.replace(name=evil) if node.name == "left" else node for node in inspected.nodes)
    graph = inspected.replace(nodes=nodes)
    write_page(Study(Model(graph, summarize(graph, ""))), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    check(text)
    assert evil not in text
    assert "&lt;script&gt;alert" in text
    assert "Worst inputs" not in text


def test_an_fp32_model_over_inputs(inspected_files, pictures, tmp_path):
    model = load(inspected_files)
    result = study(model, None, pick_samples(model, pictures, CONFIG, 4), CONFIG, ranges=True, coverage=True)
    write_page(result, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    check(text)
    assert "where each method would clip" in text
    assert "becomes part of stem" in text.lower()


@pytest.fixture
def browser():
    """A headless browser."""
    pictures = Path(__file__).resolve().parents[3] / "tools" / "make_pictures.py"
    spec = importlib.util.spec_from_file_location("make_pictures", pictures)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    found = tool.browser()
    if not found:
        pytest.skip(f"no browser is installed: none of {', '.join(tool.BROWSERS)}")
    return found


def dump(browser, page, tmp_path, *options):
    """The document as a browser has it, after its scripts have run."""
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    try:
        run = subprocess.run(
            [*command, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the browser does not end here")
    if not run.stdout:
        pytest.skip(f"the browser does not start here: {run.stderr.strip().splitlines()[-1:]}")
    return run.stdout


def test_in_a_browser_the_table_sorts_a_hash_opens_details_and_nothing_overflows(page, browser, tmp_path):
    # The page is driven by a script of its own, and tells what it saw in its title.
    probe = """<script>
      const button = [...document.querySelectorAll("#layers-table thead button")]
        .find(b => b.textContent === "isolated");
      const column = () => [...document.querySelectorAll("#layers-table tbody tr")].map(r => r.cells[2].textContent);
      button.focus(); const focused = document.activeElement === button;
      button.click(); const up = column(); button.click(); const down = column();
      const find = document.getElementById("find"); find.value = "stem"; find.dispatchEvent(new Event("input"));
      const shown = [...document.querySelectorAll("#layers-table tbody tr")].filter(r => !r.hidden).length;
      const boxes = document.querySelectorAll("#map a.found").length;
      find.value = ""; find.dispatchEvent(new Event("input"));
      const svg = document.querySelector("#map svg"), before = svg.getBoundingClientRect().width;
      document.querySelector('[data-zoom="in"]').click();
      const zoomed = svg.getBoundingClientRect().width / before;
      const last = document.querySelector("#layers-table thead th:last-child").getBoundingClientRect();
      const room = document.querySelector("#layers .scroll").getBoundingClientRect();
      const strip = document.querySelector(".strip").getBoundingClientRect();
      location.hash = "#layer-2";
      setTimeout(() => { document.title = JSON.stringify({ up, down, focused, shown,
        open: document.getElementById("layer-2").open,
        wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        sort: button.parentNode.getAttribute("aria-sort"), boxes, zoomed, tall: strip.height,
        cut: last.right - room.right, sides: room.left > document.getElementById("map").getBoundingClientRect().right,
        current: document.querySelectorAll(".current").length }); }, 50);
    </script></body>"""
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text("utf-8").replace("</body>", probe), "utf-8")
    for size in ("1280,900", "390,844"):
        text = dump(browser, probed, tmp_path, f"--window-size={size}", "--virtual-time-budget=2000")
        seen = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", text)[1]))
        numbers = [float(value) for value in seen["up"] if value]
        assert numbers == sorted(numbers)
        assert [float(value) for value in seen["down"] if value] == numbers[::-1]
        assert seen["up"][-1] == seen["down"][-1] == ""
        assert seen["focused"]
        assert seen["shown"] >= 1
        assert seen["open"]
        assert seen["wide"] <= 0
        assert seen["sort"] == "descending"
        assert seen["boxes"] == seen["shown"]
        assert seen["zoomed"] == pytest.approx(1.3, rel=0.01)
        assert seen["tall"] == 120
        assert seen["current"] == 2  # the box and the row
        if size.startswith("1280"):
            assert seen["sides"]
            assert seen["cut"] <= 0  # the last column is seen
