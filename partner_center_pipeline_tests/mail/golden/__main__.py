"""Scan golden zones and print what the product says: `python -m partner_center_pipeline_tests.mail.golden NAME ...`."""

import json
import sys

from partner_center_pipeline_tests.mail.golden import golden_zones, scanned, verdict

zones = golden_zones()
wanted = [each for each in zones if each.name in sys.argv[1:]]
if not wanted:
    sys.exit("name one or more of: " + ", ".join(each.name for each in zones))
found = scanned(zones)
for each in wanted:
    print(f"\n# {each.name}: {each.domain}")
    for key, value in verdict(found[each.domain]).items():
        print(f"{key} = {json.dumps(value, ensure_ascii=False)}")
