"""Writes one page for a manager: the figures and pictures of a day, or of any range of days.

`figures` reads the aggregates, `charts` draws them, `words` holds every text in each language, and
`page` puts them into `page.html.j2`. Drawing needs the extra `report`; everything else works
without it.
"""
