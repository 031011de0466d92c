"""Speaks to Microsoft: sign-in, token store, HTTP client, OData, payload contract, the scan of an interval.

Knows neither Dagster nor the warehouse. A caller needs these names:

    with connect(settings) as client:
        for page in scan(client, start=..., end=..., not_before=...):
            ...
"""

from partner_center_pipeline.partner_center.capability import Capability
from partner_center_pipeline.partner_center.client import Page, ReferralsClient, TokenSource
from partner_center_pipeline.partner_center.clock import Clock, SystemClock
from partner_center_pipeline.partner_center.connect import connect, connect_sign_in, sign_in_store
from partner_center_pipeline.partner_center.contract import (
    Breach,
    ReferralVersion,
    Rejected,
    decode,
    read_referral,
)
from partner_center_pipeline.partner_center.errors import (
    AccessDenied,
    ApiRefused,
    ForeignHost,
    PartnerCenterError,
    ScanIncomplete,
    SignInRequired,
    Throttled,
    TokenStoreError,
    TooEarly,
    Unreachable,
)
from partner_center_pipeline.partner_center.http import build_http
from partner_center_pipeline.partner_center.odata import DateLiteral, PageQuery
from partner_center_pipeline.partner_center.reading import ScanPage
from partner_center_pipeline.partner_center.refusals import REFRESH_TOKEN_DAYS
from partner_center_pipeline.partner_center.scan import scan
from partner_center_pipeline.partner_center.sign_in import (
    DeviceCode,
    SignIn,
    SignInStatus,
)
from partner_center_pipeline.partner_center.token_store import Flow, SealedPlace, SignInStore, StoredSignIn, TokenStore

__all__ = [
    "REFRESH_TOKEN_DAYS",
    "AccessDenied",
    "ApiRefused",
    "Breach",
    "Capability",
    "Clock",
    "DateLiteral",
    "DeviceCode",
    "Flow",
    "ForeignHost",
    "Page",
    "PageQuery",
    "PartnerCenterError",
    "ReferralVersion",
    "ReferralsClient",
    "Rejected",
    "ScanIncomplete",
    "ScanPage",
    "SealedPlace",
    "SignIn",
    "SignInRequired",
    "SignInStatus",
    "SignInStore",
    "StoredSignIn",
    "SystemClock",
    "Throttled",
    "TokenSource",
    "TokenStore",
    "TokenStoreError",
    "TooEarly",
    "Unreachable",
    "build_http",
    "connect",
    "connect_sign_in",
    "decode",
    "read_referral",
    "scan",
    "sign_in_store",
]
