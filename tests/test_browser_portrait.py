"""The tile for a picture of one's own, in a real browser: sent, refused with numbers, made, spoken with, deleted."""

import pytest
import pytest_asyncio

from tests.browser import Page, open_browser
from tests.live_server import live_server
from tests.test_browser import visiting

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTLED = "document.querySelector('#portrait').dataset.tone"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with live_server("--characters", str(tmp_path_factory.mktemp("characters"))) as running:
        yield running.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    async with open_browser() as browser:
        yield browser


@pytest.fixture
def picture(tmp_path):
    def made(content: bytes, name: str = "my_drawing.png"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return made


async def choose_file(page: Page, path) -> None:
    document = await page.call("DOM.getDocument")
    field = await page.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector="#portrait-file")
    await page.call("DOM.setFileInputFiles", files=[str(path)], nodeId=field["nodeId"])
    await page.wait_for("!document.querySelector('#portrait').hidden")


async def names(page: Page) -> list[str]:
    return await page.evaluate("[...document.querySelectorAll('.character input')].map((one) => one.value)")


async def test_a_picture_becomes_a_tile_that_is_chosen_and_can_be_deleted(browser, server, picture):
    async with visiting(browser, server) as page:
        await choose_file(page, picture(b"drawing"))
        assert await page.evaluate("document.querySelector('#portrait-title').value") == "my drawing"
        await page.click("#portrait-send")
        await page.wait_for(f"{SETTLED} === 'good'")
        assert "51 % of the picture's detail" in await page.text("#portrait-said")
        await page.wait_for("document.querySelector('.character input:checked').value === 'my-drawing'")
        await page.evaluate("window.confirm = () => true; document.querySelector('.character .remove').click()")
        await page.wait_for("!document.querySelector(`.character input[value='my-drawing']`)")
        assert "my-drawing" not in await names(page)


async def test_what_the_model_cannot_hold_is_told_and_can_be_used_anyway(browser, server, picture):
    async with visiting(browser, server) as page:
        await choose_file(page, picture(b"photograph", "photo.jpg"))
        await page.click("#portrait-send")
        await page.wait_for(f"{SETTLED} === 'bad'")
        assert await page.text("#portrait-head") == "This model cannot draw it well"
        said = await page.text("#portrait-said")
        assert "3 % of the picture's detail comes back (it needs 12 %)" in said
        assert "11 % of the face's (18 %)" in said and "hunyuan-avatar" in said
        assert await page.text("#portrait-send") == "Use it anyway"
        assert "photo" not in await names(page)
        await page.click("#portrait-send")
        await page.wait_for("document.querySelector('.character input:checked').value === 'photo'")


@pytest.mark.parametrize(
    ("content", "name", "word"),
    [(b"no picture", "broken.png", "no picture that can be read"), (b"%PDF", "paper.pdf", "PNG, JPEG or WebP")],
)
async def test_a_file_that_cannot_be_used_is_told_why(browser, server, picture, content, name, word):
    async with visiting(browser, server) as page:
        await choose_file(page, picture(content, name))
        if name.endswith(".png"):
            await page.click("#portrait-send")
        await page.wait_for(f"{SETTLED} === 'bad'")
        assert word in await page.text("#portrait-said")
        assert await page.text("#portrait-head") == "That did not work"
