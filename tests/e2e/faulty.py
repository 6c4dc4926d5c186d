import ctypes, os, stat, struct, sys, threading

ENOENT, EEXIST, ENOTEMPTY, ENOSYS = 2, 17, 39, 38
KINDS = {
    1: "LOOKUP", 3: "GETATTR", 4: "SETATTR", 9: "MKDIR", 10: "UNLINK", 11: "RMDIR", 12: "RENAME",
    14: "OPEN", 15: "READ", 16: "WRITE", 17: "STATFS", 20: "FSYNC", 25: "FLUSH", 27: "OPENDIR",
    28: "READDIR", 30: "FSYNCDIR", 35: "CREATE", 45: "RENAME",
}
DIRECTORY, FILE, DIRECT_IO = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, 1
nodes = {1: {"mode": DIRECTORY, "names": {}, "time": 1_700_000_000}}
faults = {}


def make(mode):
    number = max(nodes) + 1
    nodes[number] = {"mode": mode, "names": {}, "data": bytearray(), "time": 1_700_000_000}
    return number


def attributes(number):
    node = nodes[number]
    size, time = len(node.get("data", b"")), node["time"]
    links = 2 if stat.S_ISDIR(node["mode"]) else 1
    return struct.pack("<6Q10I", number, size, (size + 511) // 512, time, time, time, 0, 0, 0,
                       node["mode"], links, os.getuid(), os.getgid(), 0, 4096, 0)


def entry(number):
    return struct.pack("<4Q2I", number, 0, 0, 0, 0, 0) + attributes(number)


def put(parent, name, number):
    nodes[parent]["names"][name] = number


def listing(number, offset, room):
    found = [(b".", number), (b"..", number), *nodes[number]["names"].items()]
    out = b""
    for place, (name, child) in list(enumerate(found))[offset:]:
        kind = nodes[child]["mode"] >> 12
        one = struct.pack("<QQII", child, place + 1, len(name), kind) + name
        one += bytes(-len(one) % 8)
        if len(out) + len(one) > room:
            break
        out += one
    return out


def answer(opcode, number, body):
    kind = KINDS.get(opcode)
    if kind in faults:
        error, start = faults[kind]
        if not start or struct.unpack_from("<QQ", body)[1] >= start:
            return -error
    node = nodes.get(number, {})
    if opcode == 1:
        child = node["names"].get(body.rstrip(b"\0"))
        return entry(child) if child else -ENOENT
    if opcode in (3, 4):
        if opcode == 4:
            valid, _, _, size, _, _, time = struct.unpack_from("<IIQQQQQ", body)
            mode, = struct.unpack_from("<I", body, 68)
            if valid & 1:
                node["mode"] = mode
            if valid & 8:
                del node["data"][size:]
                node["data"].extend(bytes(size - len(node["data"])))
            if valid & 32:
                node["time"] = time
        return struct.pack("<QII", 0, 0, 0) + attributes(number)
    if opcode == 9:
        child = make(DIRECTORY)
        put(number, body[8:].rstrip(b"\0"), child)
        return entry(child)
    if opcode in (10, 11):
        name = body.rstrip(b"\0")
        if opcode == 11 and nodes[node["names"][name]]["names"]:
            return -ENOTEMPTY
        del node["names"][name]
        return b""
    if opcode in (12, 45):
        target, flags = struct.unpack_from("<QI", body + bytes(8))
        flags, rest = (flags, body[16:]) if opcode == 45 else (0, body[8:])
        old, new = rest.split(b"\0")[:2]
        if flags & 1 and new in nodes[target]["names"]:
            return -EEXIST
        put(target, new, node["names"].pop(old))
        return b""
    if opcode in (14, 27):
        return struct.pack("<QII", 0, DIRECT_IO if opcode == 14 else 0, 0)
    if opcode == 15:
        _, offset, size = struct.unpack_from("<QQI", body)
        return bytes(node["data"][offset:offset + size])
    if opcode == 16:
        _, offset, size = struct.unpack_from("<QQI", body)
        data = node["data"]
        data.extend(bytes(max(0, offset + size - len(data))))
        data[offset:offset + size] = body[40:40 + size]
        return struct.pack("<II", size, 0)
    if opcode == 17:
        free = 1 << 19
        sizes = (2 * free, free, free, 2 * free, free, 4096, 255, 4096, 0)
        return struct.pack("<5Q4I", *sizes) + bytes(24)
    if opcode in (18, 20, 25, 29, 30):
        return b""
    if opcode == 28:
        _, offset, size = struct.unpack_from("<QQI", body)
        return listing(number, offset, size)
    if opcode == 35:
        child = make(FILE)
        put(number, body[16:].rstrip(b"\0"), child)
        return entry(child) + struct.pack("<QII", 0, DIRECT_IO, 0)
    return -ENOSYS


def serve(device):
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError:
            return
        _, opcode, unique, number, *_ = struct.unpack_from("<IIQQ", request)
        if opcode in (2, 36, 42):
            continue
        if opcode == 26:
            body = struct.pack("<IIIIHHIII", 7, 31, 65536, 0, 12, 10, 65536, 1, 0) + bytes(28)
        else:
            body = answer(opcode, number, request[40:])
        error, body = (body, b"") if isinstance(body, int) else (0, body)
        try:
            os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
        except OSError:
            pass


libc = ctypes.CDLL(None, use_errno=True)
at = sys.argv[1].encode()
device = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40755,user_id=%d,group_id=%d" % (device, os.getuid(), os.getgid())
if libc.mount(b"faulty", at, b"fuse", 0, options):
    sys.exit("mount: " + os.strerror(ctypes.get_errno()))
threading.Thread(target=serve, args=(device,), daemon=True).start()
print("mounted", flush=True)
for line in sys.stdin:
    words = line.split()
    faults.clear()
    if len(words) == 3:
        faults[words[0]] = (int(words[1]), int(words[2]))
    print("ok", flush=True)
libc.umount2(at, 2)
