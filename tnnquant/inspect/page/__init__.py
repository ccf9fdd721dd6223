"""The page of an inspection: one HTML file that needs no network, no server and, but for sorting, no script.

:mod:`~tnnquant.inspect.page.document` puts it together; :mod:`~tnnquant.inspect.page.placing` finds the places of the
layers in the graph; :mod:`~tnnquant.inspect.page.network`, :mod:`~tnnquant.inspect.page.plots` and
:mod:`~tnnquant.inspect.page.sections` draw. Colours are classes, so that the style sheet alone knows light and dark.
"""
