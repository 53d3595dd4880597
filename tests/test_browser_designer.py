"""The character designer in a real browser, before the embedded model: drawn, kept, spoken with, exported, imported."""

import asyncio
import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from tests.browser import Page, open_browser
from tests.live_server import live_server
from tests.test_browser import PICTURES, start, visiting
from tests.test_browser_expression import press, pressed

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOWN = """(async (selector) => {
    const shown = document.querySelector(selector);
    const paint = new OffscreenCanvas(64, 64).getContext("2d");
    paint.drawImage(shown, 0, 0, 64, 64);
    return [...paint.getImageData(0, 0, 64, 64).data];
})"""
SETTLED = "document.querySelector('#design-picture').ariaBusy === 'false'"
KEYS = {"ArrowRight": 39, "Escape": 27}
# Counts what the page asks for, and how much of it at a time.
COUNTS = """
    window.asked = { pictures: 0, now: 0, most: 0 };
    const fetched = window.fetch;
    window.fetch = async (url, about) => {
        const picture = String(url).endsWith("/v1/designer/picture");
        if (picture) { asked.pictures++; asked.now++; asked.most = Math.max(asked.most, asked.now); }
        return fetched(url, about).finally(() => { asked.now -= picture; });
    };
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("characters")
    with live_server("--loader", "model.loading:load", "--characters", str(folder)) as running:
        yield running.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    async with open_browser() as browser:
        yield browser


async def open_designer(page: Page) -> None:
    await page.click("#design-tile")
    await page.wait_for(f"!document.querySelector('#design-picture').hidden && {SETTLED}", 20)


async def press_named(page: Page, key: str) -> None:
    for kind in ("rawKeyDown", "keyUp"):
        await page.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=KEYS[key])


async def pixels(page: Page, selector: str) -> np.ndarray:
    return np.array(await page.evaluate(f"{SHOWN}({json.dumps(selector)})"), float).reshape(64, 64, 4)[..., :3]


async def slide(page: Page, field: str, value: float) -> None:
    await page.evaluate(
        f"Object.assign(document.querySelector('#designer input[name={field}]'), {{ value: {value} }})"
        ".dispatchEvent(new Event('input'))"
    )


async def drawn_anew(page: Page, action) -> np.ndarray:
    """The preview after the action and its settling."""
    await page.evaluate("window.before = document.querySelector('#design-picture').src")
    await action
    await page.wait_for(f"document.querySelector('#design-picture').src !== window.before && {SETTLED}", 30)
    return await pixels(page, "#design-picture")


async def choose_file(page: Page, path: Path) -> None:
    document = await page.call("DOM.getDocument")
    field = await page.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector="#design-file")
    await page.call("DOM.setFileInputFiles", files=[str(path)], nodeId=field["nodeId"])


async def save(page: Page, name: str) -> None:
    await page.evaluate(f"document.querySelector('#design-title').value = {json.dumps(name)}")
    await page.click("#design-save")
    await page.wait_for("!document.querySelector('#designer').open")


async def test_somebody_is_designed_kept_and_spoken_with(browser, server):
    async with visiting(browser, server) as page:
        await open_designer(page)
        first = await pixels(page, "#design-picture")
        second = await drawn_anew(page, page.click("#design-dice"))
        assert np.abs(second - first).mean() > 3
        await drawn_anew(page, page.click("#design-people button[value=ada]"))
        ada = await pixels(page, "#design-picture")
        older = await drawn_anew(page, slide(page, "age", 1.0))
        assert 0.1 < np.abs(older - ada).mean() < 5
        back = await drawn_anew(page, page.click("#design-undo"))
        assert np.abs(back - ada).mean() < 1
        red = await drawn_anew(page, page.click("#designer button[value='#b5533f']"))
        assert np.abs(red - ada).mean() > 1
        await page.screenshot(PICTURES / "designer.png")
        await save(page, "Rhea")
        await page.wait_for("document.querySelector('.character input:checked').value === 'rhea'")
        assert await page.evaluate("document.querySelector('.character:has(:checked) .change') !== null")
        await start(page)
        await asyncio.sleep(1)
        assert np.abs(await pixels(page, "video.shown") - red).mean() < 12  # breathing, and through model and codec


async def test_a_kept_one_is_changed_where_it_is_and_deleted(browser, server):
    async with visiting(browser, server) as page:
        await open_designer(page)
        await save(page, "Kim")
        await page.wait_for("document.querySelector('.character input:checked').value === 'kim'")
        await page.click(".character:has([value=kim]) .change")
        await page.wait_for("document.querySelector('#design-title').value === 'Kim'")
        assert await page.text("#design-save") == "Save changes"
        await slide(page, "closeness", 1.0)
        await save(page, "Kim, near")
        await page.wait_for("document.querySelector('.character input:checked').value === 'kim'")
        async with httpx.AsyncClient(base_url=server) as client:
            kept = (await client.get("/v1/characters/kim/design")).json()
        assert kept["look"]["closeness"] == 1.0 and kept["title"] == "Kim, near"
        await page.evaluate("window.confirm = () => true")
        await page.click(".character:has([value=kim]) .remove")
        await page.wait_for("!document.querySelector('.character input[value=kim]')")


async def test_while_live_a_new_one_takes_over_and_keys_do_what_they_should(browser, server):
    async with visiting(browser, server) as page:
        session = await start(page)
        await press(page, "4")
        chosen = await pressed(page)
        assert chosen != ["neutral"]
        await open_designer(page)
        await page.evaluate("document.querySelector('#design-title').focus()")
        for key in "M3":
            await page.call("Input.insertText", text=key) if key == "M" else await press(page, key)
        assert await page.evaluate("document.querySelector('#design-title').value") == "M3"
        await page.evaluate("document.querySelector('#designer input[type=range]').focus()")
        await press(page, "2")
        assert await pressed(page) == chosen
        await save(page, "Live one")
        await page.wait_for("document.querySelector('.character input:checked').value === 'live-one'")
        async with httpx.AsyncClient(base_url=server) as client:
            for _ in range(50):
                if (state := (await client.get(f"/v1/sessions/{session}")).json())["character"] == "live-one":
                    break
                await asyncio.sleep(0.1)
            assert state["character"] == "live-one"
        assert await pressed(page) == chosen
        await press(page, "1")
        assert await pressed(page) == ["neutral"]
        await page.click("#start")


async def test_a_moving_slider_asks_for_one_picture_at_a_time_and_the_last_one_is_shown(browser, server):
    async with visiting(browser, server, before=COUNTS) as page:
        await open_designer(page)
        await drawn_anew(page, page.click("#design-people button[value=bo]"))
        await page.evaluate("asked.pictures = asked.most = 0")
        await page.evaluate("""(async () => {
            const slider = document.querySelector("#designer input[name=hair_volume]");
            for (let step = 0; step <= 100; step++) {
                slider.value = step / 100;
                slider.dispatchEvent(new Event("input"));
                await new Promise((resolve) => setTimeout(resolve, 5));
            }
        })()""")
        await page.wait_for(SETTLED)
        counted = await page.evaluate("asked")
        assert counted["most"] == 1 and 2 <= counted["pictures"] < 60
        async with httpx.AsyncClient(base_url=server) as client:
            people = (await client.get("/v1/designer")).json()["people"]
            look = next(one["look"] for one in people if one["name"] == "bo") | {"hair_volume": 1.0}
            png = (await client.post("/v1/designer/picture", json={"look": look})).content
        expected = np.array(Image.open(io.BytesIO(png)).resize((64, 64), Image.Resampling.BILINEAR), float)
        assert np.abs(await pixels(page, "#design-picture") - expected).mean() < 4


async def test_an_exported_one_is_imported_also_by_dropping_it(browser, server, tmp_path):
    async with visiting(browser, server) as page:
        await browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        await open_designer(page)
        await page.evaluate("document.querySelector('#design-title').value = 'Zoë Zwo'")
        await page.click("#design-export")
        path = tmp_path / "zoe-zwo.json"
        for _ in range(100):
            if path.exists() and path.read_text():
                break
            await asyncio.sleep(0.05)
        before = await pixels(page, "#design-picture")
        await drawn_anew(page, page.click("#design-dice"))
        back = await drawn_anew(page, choose_file(page, path))
        assert np.abs(back - before).mean() < 4
        assert await page.evaluate("document.querySelector('#design-title').value") == "Zoë Zwo"
        document = json.loads(path.read_text())
        document["look"]["jaw"], document["title"] = 12, "Dropped"
        await page.click("#design-close")
        text = json.dumps(json.dumps(document))
        await page.evaluate(f"""(() => {{
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([{text}], "x.json", {{ type: "application/json" }}));
            window.dispatchEvent(new DragEvent("drop", {{ dataTransfer, cancelable: true }}));
        }})()""")
        await page.wait_for("document.querySelector('#design-title').value === 'Dropped'")
        assert "jaw was 12 and is now 1" in await page.text("#design-said")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("hello", "no character that Visavis has exported"),
        ('{"format": "visavis-character", "version": 2}', "newer Visavis (version 2); this one reads version 1: update it"),
        ('{"format": "visavis-character", "vers', "damaged"),
        (" " * 70_000, "too large"),
    ],
)
async def test_a_file_that_cannot_be_imported_is_told_why(browser, server, tmp_path, content, words):
    path = tmp_path / "character.json"
    path.write_text(content)
    async with visiting(browser, server) as page:
        await open_designer(page)
        await choose_file(page, path)
        await page.wait_for("document.querySelector('#design-said').dataset.tone === 'bad'")
        assert words in await page.text("#design-said")


async def test_a_nameless_one_is_not_kept(browser, server):
    async with visiting(browser, server) as page:
        await open_designer(page)
        await page.click("#design-save")
        assert "name" in await page.text("#design-said")
        assert await page.evaluate("document.activeElement.id") == "design-title"


async def test_tabs_are_walked_by_arrows_and_escape_closes(browser, server):
    async with visiting(browser, server) as page:
        await open_designer(page)
        await page.evaluate("document.querySelector('#design-tab-style').focus()")
        await press_named(page, "ArrowRight")
        assert await page.evaluate("document.activeElement.id") == "design-tab-face"
        assert await page.evaluate("!document.querySelector('#design-panel-face').hidden")
        await press_named(page, "Escape")
        await page.wait_for("!document.querySelector('#designer').open")


async def test_animals_have_no_controls_for_what_they_do_not_wear(browser, server):
    async with visiting(browser, server) as page:
        await open_designer(page)
        await drawn_anew(page, page.click("#designer input[value=fox]"))
        hidden = "document.querySelector('#designer input[name=design-{}]').closest('.dial').hidden"
        assert await page.evaluate(hidden.format("beard")) and not await page.evaluate(hidden.format("hat"))
        await drawn_anew(page, page.click("#designer input[value=person]"))
        assert not await page.evaluate(hidden.format("beard"))


async def test_a_part_alone_is_drawn_by_lot_and_the_rest_stays(browser, server):
    exported = """(async () => {
        const made = new Promise((resolve) => {
            URL.createObjectURL = (blob) => { resolve(blob.text()); return "data:,"; };
        });
        document.querySelector("#design-export").click();
        return JSON.parse(await made).look;
    })()"""
    async with visiting(browser, server) as page:
        await open_designer(page)
        await drawn_anew(page, page.click("#design-people button[value=otto]"))
        await drawn_anew(page, page.click("#design-panel-clothes .lot"))
        look = await page.evaluate(exported)
        async with httpx.AsyncClient(base_url=server) as client:
            people = (await client.get("/v1/designer")).json()["people"]
        otto = next(one["look"] for one in people if one["name"] == "otto")
        assert {name for name in look if look[name] != otto[name]} <= {"clothes", "clothes_colour", "accent_colour"}
        assert look != otto


async def test_one_colour_behind_comes_with_how_to_key_it_out(browser, server):
    async with visiting(browser, server) as page:
        await open_designer(page)
        await page.click("#designer input[value=solid]")
        await page.click("#design-panel-background button[value='#00b140']")
        await page.click("#design-tab-background")
        assert "Chroma Key" in await page.text("#design-key") and "#00b140" in await page.text("#design-key")


async def test_choices_are_pictured_with_the_look_that_is_being_designed(browser, server):
    async with visiting(browser, server) as page:
        await open_designer(page)
        await drawn_anew(page, page.click("#design-people button[value=ada]"))  # whoever came by lot may be an animal
        await page.click("#design-tab-hair")
        pictures = "document.querySelector('#design-panel-hair .choices').style.getPropertyValue('--pictures')"
        first = await page.wait_for(pictures, 20)
        await page.click("#design-people button[value=kofi]")
        await page.wait_for(f"{pictures} !== {json.dumps(first)}", 20)


async def test_an_expression_can_be_tried_on(browser, server):
    async with visiting(browser, server) as page:
        await open_designer(page)
        calm = await pixels(page, "#design-picture")
        await drawn_anew(page, page.click("#design-feelings [value=surprised]"))
        assert np.abs(await pixels(page, "#design-picture") - calm).mean() > 0.1
        assert await page.evaluate("document.querySelector('#design-feelings [aria-pressed=true]').value") == "surprised"


async def test_the_picture_alone_is_for_programs_that_take_it_from_the_page(browser, server):
    async with visiting(browser, f"{server}/?stage=1") as page:
        await page.resize(640, 480)
        box = await page.evaluate("document.querySelector('#stage').getBoundingClientRect().toJSON()")
        assert (box["width"], box["height"], box["top"]) == (480, 480, 0)
        assert await page.evaluate("document.querySelector('.side').offsetParent === null")


async def test_a_narrow_page_has_room_for_the_designer(browser, server):
    async with visiting(browser, server) as page:
        await page.resize(360, 800)
        await open_designer(page)
        for tab in ("hair", "background"):
            await page.click(f"#design-tab-{tab}")
            await page.screenshot(PICTURES / f"designer-narrow-{tab}.png")
            wide = await page.evaluate("document.querySelector('#design-all').scrollWidth")
            assert wide <= 360


async def test_where_nothing_can_be_drawn_it_says_what_to_install_and_all_else_works(browser, tmp_path, monkeypatch):
    (tmp_path / "skia.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with live_server() as server:
        async with visiting(browser, server.url) as page:
            await page.click("#design-tile")
            said = "document.querySelector('#design-missing').innerText"
            await page.wait_for(f"{said}.includes('sudo apt-get install libgl1 libegl1')")
            await page.screenshot(PICTURES / "designer-missing.png")
            await page.click("#design-close")
            await start(page)
