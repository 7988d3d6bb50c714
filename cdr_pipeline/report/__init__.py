"""One page that a manager opens: a day, or any range of days, as figures and pictures.

`figures` reads the aggregates, `charts` draws them, `words` holds every text in each language, and
`page` puts them into `page.html.j2`. Drawing needs the extra `report`; everything else works
without it.
"""
