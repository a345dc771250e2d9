"""A sign-in authority as Microsoft Entra ID: discovery, keys, sign-in page, token endpoint.

msal works with it unchanged; every error has Entra's AADSTS code and text.
"""
