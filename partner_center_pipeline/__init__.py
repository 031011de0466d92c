"""Microsoft Partner Center referrals, window by window, as scored and explained leads."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  pip refuses an older one; a direct `python3.10 -m` comes here
    raise SystemExit(
        f"partner-center needs Python 3.11 or newer, and this is {sys.version_info[0]}.{sys.version_info[1]}; make the "
        "virtual environment with a newer one, e.g. python3.11 -m venv .venv"
    )
if sys.platform == "win32":
    raise SystemExit(
        "partner-center does not run on Windows by itself: it needs signals, sockets and rights of files that Windows "
        "does not have. Run it in WSL (`wsl --install`, then as on Linux) or in a container (docs/deployment.md)"
    )
