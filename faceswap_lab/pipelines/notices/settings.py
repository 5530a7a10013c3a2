"""The file notices.toml: the mail server, and addresses and secrets of webhooks. None of it is ever on a command line."""

import os
import sys
import tomllib
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError

from faceswap_lab.compute.security import names_loopback
from faceswap_lab.errors import ScheduleError, storing
from faceswap_lab.files import user_path

FILE_VARIABLE = "FACESWAP_LAB_NOTICES"
PASSWORD_VARIABLE = "FACESWAP_LAB_MAIL_PASSWORD"  # noqa: S105  # the variable's name
SECRET_VARIABLE = "FACESWAP_LAB_WEBHOOK_SECRET"  # noqa: S105


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Mail(_Strict):
    """The server that takes mail: by default port 587 with STARTTLS; `tls` is encrypted from the start, at port 465."""

    server: str
    sender: str
    security: Literal["starttls", "tls", "none"] = "starttls"
    port: int | None = None
    user: str | None = None
    password_file: str | None = None


class Signing(_Strict):
    """The secret that webhooks are signed with."""

    secret_file: str | None = None


class Webhook(_Strict):
    """An address that is itself a secret, and so has a name; `plain_http` accepts http:// to another machine."""

    url: str | None = None
    url_file: str | None = None
    plain_http: bool = False


class Settings(_Strict):
    """What notices.toml says."""

    mail: Mail | None = None
    webhook: Signing = Signing()
    webhooks: dict[str, Webhook] = {}


def settings_path() -> Path:
    """`FACESWAP_LAB_NOTICES`, else notices.toml in the user's folder of settings."""
    named = os.environ.get(FILE_VARIABLE)
    return user_path(named) if named else platformdirs.user_config_path("faceswap_lab", appauthor=False) / "notices.toml"


def read_settings() -> Settings:
    """The settings; those of an empty file if there is none. ScheduleError without a word of the content, which may be secret."""
    path = settings_path()
    if not path.is_file() and FILE_VARIABLE not in os.environ:
        return Settings()
    try:
        made = Settings.model_validate(tomllib.loads(_private_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise ScheduleError(
            expected=f"{path} to be TOML", got="a file that is none", remedy="correct it (docs/howto/schedule.md)"
        ) from error
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ScheduleError(
            expected=f"the settings of notices in {path}", got=found, remedy="correct these (docs/howto/schedule.md)"
        ) from None
    if made.mail is not None and made.mail.security == "none" and not names_loopback(made.mail.server):
        remedy = 'write security = "starttls" or "tls"'
        raise ScheduleError(expected="encryption to a mail server elsewhere", got='security = "none"', remedy=remedy)
    return made


def secret(variable: str, file: str | None, *, scheduled: bool = False) -> str | None:
    """The secret in the file (its name is taken from the settings' folder), else in the variable; None if neither is given.

    ScheduleError, if `scheduled`, for one that is in the variable alone: a scheduler's job doesn't inherit it.
    """
    if file is not None:
        return _private_text(settings_path().parent / user_path(file)).strip()
    found = os.environ.get(variable) or None
    if found and scheduled:
        remedy = f"put it into a file, and name that in {settings_path()} as password_file or secret_file"
        raise ScheduleError(expected="a secret that a scheduled run can read", got=f"one in {variable} alone", remedy=remedy)
    return found


def _private_text(path: Path) -> str:
    """The text of a file that other users of this machine cannot read."""
    with storing(path):
        if sys.platform != "win32" and path.stat().st_mode & 0o007:
            raise ScheduleError(
                expected=f"{path} closed to other users", got="a file that they can read", remedy=f"chmod 600 {path}"
            )
        return path.read_text(encoding="utf-8")
