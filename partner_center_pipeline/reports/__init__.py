"""The report: what a sales team opens on Monday, as a workbook, a CSV file or one page of HTML.

The writers are pure: they turn rows into a file. `reading` reads the rows, `writing` puts both together.
"""
