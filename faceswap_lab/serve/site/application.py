"""The web application: Gradio mounted behind the guard, with a login page of our own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from faceswap_lab.errors import LabError
from faceswap_lab.serve.refusals import status_of
from faceswap_lab.serve.site import look, words
from faceswap_lab.serve.site.guard import Gate, Guard, cookie_of
from faceswap_lab.serve.site.reply import App, cookie_header
from faceswap_lab.serve.site.visitors import Visitors

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

Check = Callable[[str, str, str], bool]
"""Whether name and password are right, for who asks from an address; raises `refusals.LockedError` after too many wrong ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the application is told: `check` is None without a login; `root_path` is where a proxy shows it."""

    gate: Gate
    visitors: Visitors
    check: Check | None = None
    root_path: str = ""


def application(blocks: "gr.Blocks", site: Site) -> Guard:
    """The application that the server serves."""
    import gradio as gr
    from fastapi import FastAPI

    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _add_own_paths(outer, site)
    gr.mount_gradio_app(
        outer, blocks, path="/", root_path=site.root_path or None, allowed_paths=[], max_file_size=site.gate.max_bytes,
        show_error=False, ssr_mode=False, enable_monitoring=False, run_history=False, footer_links=[], pwa=False,
        mcp_server=False, theme=look.theme(), css=look.style_sheet(),
    )  # fmt: skip
    return Guard(cast("App", outer), gate=site.gate, visitors=site.visitors)


def _add_own_paths(outer: "FastAPI", site: Site) -> None:
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

    async def health() -> Response:
        return JSONResponse({"ok": True})

    async def ask(request: Request) -> Response:
        return HTMLResponse(_login_page(site)) if site.check is not None else RedirectResponse("./", 303)

    async def log_in(request: Request) -> Response:
        answer: Response = await _log_in(site, request)
        return answer

    async def log_out(request: Request) -> Response:
        site.visitors.leave(cookie_of(dict(request.scope)))
        answer = RedirectResponse("login" if site.check is not None else "./", 303)
        name, value = cookie_header("", tls=site.gate.tls, age_s=0)
        answer.raw_headers.append((name, value))
        return answer

    for path, handle, method in (
        ("/health", health, "GET"),
        ("/login", ask, "GET"),
        ("/login", log_in, "POST"),
        ("/logout", log_out, "GET"),
    ):
        outer.add_api_route(path, handle, methods=[method], response_model=None)


async def _log_in(site: Site, request: Any) -> Any:
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse

    wants_page = "text/html" in request.headers.get("accept", "")
    form = await request.form(max_files=0, max_fields=8, max_part_size=4096)
    name, password = str(form.get("username", "")), str(form.get("password", ""))
    address = request.client.host if request.client is not None else ""
    status, refused = await run_in_threadpool(_refused, site, name, password, address)
    if refused:
        return HTMLResponse(_login_page(site, refused), status) if wants_page else JSONResponse({"detail": refused}, status)
    cookie, _ = site.visitors.welcome(name if site.check is not None else "")
    answer = RedirectResponse("./", 303) if wants_page else JSONResponse({"success": True})
    answer.raw_headers.append(cookie_header(cookie, tls=site.gate.tls))
    return answer


def _refused(site: Site, name: str, password: str, address: str) -> tuple[int, str]:
    """Why somebody may not come in, with the status; an empty text if they may."""
    try:
        if site.check is None or site.check(name, password, address):
            return 200, ""
    except LabError as error:
        return status_of(error), f"Too many wrong passwords: {error.remedy}."
    return 401, "The name or the password is wrong."


def _login_page(site: Site, refused: str = "") -> str:
    sans = ", ".join(f'"{each}"' if " " in each else each for each in look.SANS)
    keep = words.duration(site.visitors.keep_s)
    return look.render("login", refused=refused, keep=keep, light=look.LIGHT, dark=look.DARK, sans=sans)
