'''Sign-in, token store, HTTP client, OData, payload contract, and the scan of an interval.

Not here: Dagster (`defs`), storing what a scan brings (`warehouse`). The referrals of an interval are read like this:

    >>> from partner_center_pipeline.partner_center import connect, scan
    >>> def ids_between(settings, start, end, not_before):
    ...     """Return the ids of all referrals updated in `[start, end)`; all times are 100 ns ticks."""
    ...     with connect(settings, deadline=300.0) as client:
    ...         pages = scan(client, start=start, end=end, not_before=not_before)
    ...         return {version.referral_id for page in pages for version in page.versions}
'''

from partner_center_pipeline.partner_center.capability import Capability
from partner_center_pipeline.partner_center.client import ReferralsClient
from partner_center_pipeline.partner_center.connect import connect, connect_sign_in, sign_in_store, signed_in_account
from partner_center_pipeline.partner_center.errors import PartnerCenterError, ScanIncomplete, SignInRequired, TooEarly
from partner_center_pipeline.partner_center.http import build_http
from partner_center_pipeline.partner_center.odata import DateLiteral, PageQuery
from partner_center_pipeline.partner_center.scan import scan
from partner_center_pipeline.partner_center.sign_in import DeviceCode, SignIn, SignInStatus
from partner_center_pipeline.partner_center.token_store import SignInStore
from partner_center_pipeline.partner_center.whole_list import WholeList

__all__ = [
    "Capability",
    "DateLiteral",
    "DeviceCode",
    "PageQuery",
    "PartnerCenterError",
    "ReferralsClient",
    "ScanIncomplete",
    "SignIn",
    "SignInRequired",
    "SignInStatus",
    "SignInStore",
    "TooEarly",
    "WholeList",
    "build_http",
    "connect",
    "connect_sign_in",
    "scan",
    "sign_in_store",
    "signed_in_account",
]
