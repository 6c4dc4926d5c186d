<?php
// PHP's ftp extension against ringftpd, started by php.rs.
//
// Arguments: HOST PORT. The account comes from the environment (FTP_USER, FTP_PASSWORD). Exit status
// 0 means that every check held. Files the Rust side wants to check on the server's disk are
// announced as `sha256 PATH HEX` lines on stdout.

const TURNS = 8;
const TIMEOUT = 60;

// A warning is how the extension tells that an operation failed, and what the server said.
set_error_handler(function (int $level, string $message): bool {
    throw new ErrorException($message);
});

function check(bool $holds, string $what): void
{
    if (!$holds) {
        throw new RuntimeException($what);
    }
}

[, $host, $port] = $argv;
$ftp = ftp_ssl_connect($host, (int) $port, TIMEOUT);
check($ftp !== false, "connect");
check(ftp_login($ftp, getenv("FTP_USER"), getenv("FTP_PASSWORD")), "log-in");
check(ftp_pasv($ftp, true), "passive mode");
for ($turn = 0; $turn < TURNS; $turn++) {
    $name = "php-$turn.bin";
    $content = random_bytes(5000 + $turn);
    $source = fopen("php://memory", "r+");
    fwrite($source, $content);
    rewind($source);
    check(ftp_fput($ftp, $name, $source, FTP_BINARY), "upload $turn");
    $target = fopen("php://memory", "r+");
    check(ftp_fget($ftp, $target, $name, FTP_BINARY), "download $turn");
    rewind($target);
    check(stream_get_contents($target) === $content, "contents $turn");
    check(ftp_size($ftp, $name) === strlen($content), "size $turn");
    echo "sha256 $name ", hash("sha256", $content), "\n";
}
check(count(ftp_nlist($ftp, ".")) === TURNS, "names");
check(count(ftp_mlsd($ftp, ".")) >= TURNS, "facts");
check(ftp_close($ftp), "end");
