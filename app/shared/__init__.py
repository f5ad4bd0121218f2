"""What several pages draw or do: browsing, deciding, a sample's drawer. It imports access, charts, data and
elements.
"""
