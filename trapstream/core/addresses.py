"""Private addresses are refused: the rule for every connection to a server that a user named. Pure."""

import ipaddress

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Whether `address`, a numeric IP address, lies in the public internet.

    An IPv6 address that carries an IPv4 address (mapped, 6to4, Teredo, NAT64) counts as what it carries.
    """
    try:
        ip: IPAddress = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        carried = _carried(ip)
        if carried:
            return all(map(_is_public, carried))
    return _is_public(ip)


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or a numeric address, can only be this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _carried(ip: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    if ip.ipv4_mapped:
        return [ip.ipv4_mapped]
    if ip.sixtofour:
        return [ip.sixtofour]
    if ip.teredo:
        return list(ip.teredo)
    if ip in _NAT64:
        return [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)]
    return []


def _is_public(ip: IPAddress) -> bool:
    special = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved
    # is_global alone calls multicast global, and its ranges differ between Python versions: several must agree.
    return ip.is_global and not (special or ip.is_unspecified or getattr(ip, "is_site_local", False))
