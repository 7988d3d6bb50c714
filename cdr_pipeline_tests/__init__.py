"""The specification of cdr_pipeline, folder by folder as the package has them."""
