"""From a referral to a lead and its company: pure rules over plain data, no I/O (identity.md)."""

from partner_center_pipeline.leads.domains import ascii_key, normalize_domain, unicode_domain
from partner_center_pipeline.leads.lead import LeadFacts, read_lead

__all__ = ["LeadFacts", "ascii_key", "normalize_domain", "read_lead", "unicode_domain"]
