"""From a referral to a lead and its company: pure rules over plain data, no I/O (identity.md)."""

from partner_center_pipeline.leads.category import (
    CategoryFinding,
    CategoryRule,
    ReferralCategory,
    categorize,
)
from partner_center_pipeline.leads.domains import (
    Host,
    Platform,
    ascii_key,
    find_hosts,
    normalize_domain,
    unicode_domain,
)
from partner_center_pipeline.leads.finding import DomainFinding, DomainReason, TenantSource, find_domain
from partner_center_pipeline.leads.folding import fold_key
from partner_center_pipeline.leads.lead import LeadFacts, read_lead
from partner_center_pipeline.leads.names import CompanyName, company_name

__all__ = [
    "CategoryFinding",
    "CategoryRule",
    "CompanyName",
    "DomainFinding",
    "DomainReason",
    "Host",
    "LeadFacts",
    "Platform",
    "ReferralCategory",
    "TenantSource",
    "ascii_key",
    "categorize",
    "company_name",
    "find_domain",
    "find_hosts",
    "fold_key",
    "normalize_domain",
    "read_lead",
    "unicode_domain",
]
