"""Plots of the page, each a function from facts to inline SVG."""
