"""A notice by mail: text alone, through a server that is named in notices.toml, encrypted and checked."""

import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

from faceswap_lab.errors import ScheduleError
from faceswap_lab.pipelines.notices import content
from faceswap_lab.pipelines.notices.attempts import Delivered, RefusedError, TransientError, attempt
from faceswap_lab.pipelines.notices.settings import PASSWORD_VARIABLE, Mail, secret, settings_path

TIMEOUT_S = 20.0


def mail(to: str, message: Mapping[str, Any], server: Mail | None) -> Delivered:
    """Send the message; what went wrong on the way is in the answer. ScheduleError without a server or a password."""
    known, password = require_server(server)
    letter = _letter(to, message, known.sender)
    return attempt(lambda: _send(letter, known, password))


def require_server(server: Mail | None, *, scheduled: bool = False) -> tuple[Mail, str | None]:
    """The server and the password for it; ScheduleError if either is missing. `scheduled` as for `secret`."""
    if server is None:
        remedy = "write [mail] with server and sender there (docs/howto/schedule.md)"
        raise ScheduleError(expected=f"a mail server in {settings_path()}", got="none", remedy=remedy)
    password = secret(PASSWORD_VARIABLE, server.password_file, scheduled=scheduled) if server.user is not None else None
    if server.user is not None and password is None:
        remedy = f"name a password_file there, or set {PASSWORD_VARIABLE}"
        raise ScheduleError(expected=f"a password for the user in {settings_path()}", got="none", remedy=remedy)
    return server, password


def _letter(to: str, message: Mapping[str, Any], sender: str) -> EmailMessage:
    letter = EmailMessage()
    letter["Subject"] = content.subject(message)
    letter["From"] = sender
    letter["To"] = to
    letter["Date"] = formatdate()
    # The name of this machine is nobody's business: the domain is the sender's.
    letter["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(content.text(message))
    return letter


def _send(letter: EmailMessage, server: Mail, password: str | None) -> str:
    try:
        with _connection(server) as connection:
            if server.user is not None and password is not None:
                connection.login(server.user, password)
            connection.send_message(letter)
    except smtplib.SMTPAuthenticationError as error:
        raise RefusedError(f"the server refuses user and password: {error.smtp_code}") from None  # its text may repeat them
    except smtplib.SMTPRecipientsRefused as error:
        code = next(iter(error.recipients.values()))[0]
        raise _fault(code, f"the recipient is refused: {code}") from error
    except smtplib.SMTPResponseException as error:
        raise _fault(error.smtp_code, f"{type(error).__name__}: {error.smtp_code}") from error
    except ssl.SSLCertVerificationError as error:
        raise RefusedError(f"the certificate is not accepted: {error.verify_message}") from error
    except smtplib.SMTPNotSupportedError as error:
        raise RefusedError(f"the server has no {'login' if server.security != 'starttls' else 'STARTTLS or no login'}") from error
    except (OSError, smtplib.SMTPException) as error:
        raise TransientError(type(error).__name__) from error
    return "accepted by the server"


def _connection(server: Mail) -> smtplib.SMTP:
    """Encrypted, and with the server's certificate checked, before anything is said."""
    context = ssl.create_default_context()
    name = server.sender.rpartition("@")[2]
    if server.security == "tls":
        return smtplib.SMTP_SSL(server.server, server.port or 465, local_hostname=name, timeout=TIMEOUT_S, context=context)
    connection = smtplib.SMTP(server.server, server.port or (587 if server.security == "starttls" else 25), name, TIMEOUT_S)
    if server.security == "starttls":
        try:
            connection.starttls(context=context)
        except BaseException:
            connection.close()
            raise
    return connection


def _fault(code: int, text: str) -> Exception:
    """SMTP's own distinction: 4xx is for now, 5xx for good."""
    return TransientError(text) if 400 <= code < 500 else RefusedError(text)
