"""The interactive documentation of the API, from files in the package: it works where there is no internet."""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html

router = APIRouter(include_in_schema=False)
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_A_DAY = {"cache-control": "public, max-age=86400", "content-encoding": "gzip"}


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Swagger UI over this service's own OpenAPI document."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="gnn-service",
        swagger_js_url=f"{root}/docs/swagger-ui-bundle.js",
        swagger_css_url=f"{root}/docs/swagger-ui.css",
        swagger_favicon_url="data:,",
    )


@router.get("/docs/swagger-ui-bundle.js")
async def swagger_script() -> Response:
    """The script of Swagger UI."""
    return _asset("swagger-ui-bundle.js")


@router.get("/docs/swagger-ui.css")
async def swagger_style() -> Response:
    """The style sheet of Swagger UI."""
    return _asset("swagger-ui.css")


def _asset(name: str) -> Response:
    return Response(_packed(name), media_type=_ASSETS[name], headers=_A_DAY)


@cache
def _packed(name: str) -> bytes:
    """The file as the package holds it, gzip: every browser takes that."""
    return (files("gnn_service.api") / "static" / "swagger_ui" / f"{name}.gz").read_bytes()
