"""Every log format, metric and span of the product is declared here; other rooms fill them."""
