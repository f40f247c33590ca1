"""Every type of Postgres 15 with the values that are hard to carry: each as the text its input function takes."""

from __future__ import annotations

from typing import Final

LONG_ZONE: Final = "10:11:12.123456+15:59"
TYPES: Final = r"""
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE EXTENSION ltree;
CREATE EXTENSION isn;
CREATE EXTENSION cube;
CREATE EXTENSION seg;
CREATE EXTENSION intarray;
CREATE SCHEMA "odd schema";
CREATE TYPE mood AS ENUM ('', 'sad, but "ok"', 'it''s \', 'NULL', 'ñandú 🎂', '{a,b}');
CREATE TYPE "odd schema"."Odd (1) type[]" AS ENUM ('today', 'never');
CREATE TYPE "odd schema"."date" AS ENUM ('today', 'never');
CREATE TYPE place AS (name text, seats integer, at timestamptz, price numeric, photo bytea, tags text[], mood mood);
CREATE TYPE nested AS (here place, all_of place[]);
CREATE TYPE price_range AS RANGE (subtype = numeric, multirange_type_name = price_ranges);
CREATE DOMAIN email AS text CHECK (value <> 'none');
CREATE DOMAIN score AS integer;
CREATE DOMAIN amount AS numeric(12,2);
CREATE DOMAIN day AS date;
CREATE DOMAIN scores AS integer[];
CREATE DOMAIN deeper AS scores;
CREATE DOMAIN whereabouts AS place;
CREATE DOMAIN feeling AS mood;
CREATE DOMAIN stay AS daterange;
CREATE DOMAIN pairs AS hstore;
"""
INTERVALS: Final = (
    *("0", "-00:00:00.000001", "1 year 2 mons -3 days 04:05:06.789", "-1 year -11 mons 40 days -23:59:59.999999"),
    *("178956970 years 7 mons", "-178956970 years -8 mons", "2147483647 days", "-2147483648 days", "-1 mons"),
    *("2147483647:59:59.999999", "-2147483647:59:59.999999", "00:00:59.999999", "-00:59:00", "1 mon -1 days"),
)
JSONS: Final = (
    *('{"a" : 1,  "a":2}', "1e400", "-0.0", "100000000000000000000000000000000000000.000000000000000000010"),
    *(r'"\ud83c\udf82 \u00e9 \u2028"', "null", '""', "[ ]", ' {"b":[1,{"c":null}],"a":"é"}\n', r'"\\\" \/ \t"'),
    r'"\u0000"',
)
RANGES: Final = ("empty", "(,)", "[1,1]", "[,5)", "(-7,)")
ODD_TEXTS: Final = (
    *("", "NULL", "null", " ", "a,b", '"', "\\", "\\N", "\\.", "{}", "{a}", "'", "\t\n\r", "\x01\x1f\x7f"),
    *("ñ é ü", "🎂👰🏽‍♀️", "\u2028\u2029\ufeff", "\ufffd\uffff\U0010ffff", "e\u0301", "a" * 3000, "ÀÞ" * 5000),
)
WORDS: Final = ("", "NULL", 'a"b', "\\", "é, 🎂")
EXACT: Final[dict[str, tuple[str, ...]]] = {
    "boolean": ("t", "f"),
    "smallint": ("32767", "-32768", "0"),
    "integer": ("2147483647", "-2147483648"),
    "bigint": ("9223372036854775807", "-9223372036854775808"),
    "real": ("NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38", "0.1", "16777217", "1.17549435e-38"),
    "double precision": (
        *("NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308", "0.1", "0.30000000000000004"),
        *("1e22", "123456789012345678", "2.2250738585072014e-308", "9007199254740993"),
    ),
    "numeric": (
        *("NaN", "Infinity", "-Infinity", "0.00000000", "-0.0000", "1e-16383", "1e131071", "1" + "0" * 100 + ".10"),
        *("0.000000000000000000000000000000000001230", "-12345678901234567890.123456789", "1e3", "100"),
    ),
    "numeric(12,2)": ("-9999999999.99", "0.10", "NaN"),
    "numeric(3,5)": ("0.00999",),
    "numeric(5,-2)": ("1234567", "-100"),
    "numeric(1000,500)": ("1e499", "1e-500"),
    "money": ("-92233720368547758.08", "92233720368547758.07", "-0.01", "0"),
    "text": ODD_TEXTS,
    "character varying(40)": ("", "x  ", "é" * 40),
    "character(5)": ("", "ab", "é", "abcde"),
    "character": ("", "x"),
    "bpchar": ("x   ", ""),
    '"char"': ("a", "", "\\", "1"),
    "name": ("", "x" * 63, 'od"d'),
    "bytea": ("\\x", "\\x00ff5c", "\\x" + "00" * 5000),
    "uuid": ("00000000-0000-0000-0000-000000000000", "FFFFFFFF-ffff-ffff-ffff-ffffffffffff"),
    "xml": ("<a>é &lt; 🎂</a>", "", "plain <b/>", '<?xml version="1.0"?><a x="1"/>', "  <a/>\n"),
    "json": JSONS,
    "jsonb": (
        *('{"a":1,"a":2,"b":{}}', "1e100", "0.00000000000000000010", "-0.0", r'"\ud83c\udf82"', "null", '""', "[]"),
        "1" + "0" * 100 + ".000010",
    ),
    "jsonpath": ('$."a b"[*] ? (@ > 1)', "strict $"),
    "date": ("infinity", "-infinity", "4713-11-24 BC", "0001-12-31 BC", "0001-01-01", "1582-10-04", "5874897-12-31"),
    "time": ("24:00", "00:00", "23:59:59.999999"),
    "time(0)": ("24:00", "12:00:01"),
    "time with time zone": (
        "24:00+00",
        "24:00-15:59",
        "00:00:00+15:59",
        LONG_ZONE,
        "10:00-03:30",
        "10:00:00.1+00:00:30",
    ),
    "time(3) with time zone": ("10:00:00.123-15:59:59",),
    "timestamp without time zone": (
        *(
            "infinity",
            "-infinity",
            "4713-11-24 00:00 BC",
            "0001-12-31 23:59:59.999999 BC",
            "294276-12-31 23:59:59.999999",
        ),
        *("1582-10-10 12:00", "1969-12-31 23:59:59.999999", "10000-01-01", "294247-01-10 04:00:54.775807"),
    ),
    "timestamp(3) without time zone": ("2026-06-20 10:00:00.123", "infinity"),
    "timestamp with time zone": (
        *("infinity", "-infinity", "4713-11-24 00:00+00 BC", "0001-12-31 23:59:59.999999+00 BC"),
        *("294276-12-31 23:59:59.999999+00", "1582-10-10 12:00+00", "2026-06-20 10:00:00.000001+14", "10000-01-01+00"),
        *("1850-01-01 00:00+00", "99999-01-01 00:00:00.123456+00"),
    ),
    "timestamp(0) with time zone": ("2026-06-20 10:00:00+14", "infinity"),
    "interval": INTERVALS,
    "interval year to month": ("1 year 2 mons",),
    "interval second(3)": ("00:00:01.123",),
    "bit": ("0", "1"),
    "bit(11)": ("00000000000", "10000000001"),
    "bit varying": ("", "0", "1", "00000000", "000000001", "1" * 70),
    "bit varying(8)": ("", "00", "10101010"),
    "point": ("(0,-0)", "(NaN,Infinity)", "(1e-320,0.1)", "(-1.5e300,2)"),
    "line": ("{1,-2,3}", "{0.1,0,-1}"),
    "lseg": ("[(0,0),(0.1,-1e300)]",),
    "box": ("(2,3),(0.1,-0)", "((1,1),(1,1))"),
    "path": ("((0,0),(0.1,1),(2,0))", "[(0,0),(1e-300,1)]", "[(1,1)]"),
    "polygon": ("((0,0),(0.1,1),(2,0))", "((1,1))"),
    "circle": ("<(0.1,-2),1e-5>", "<(0,0),0>"),
    "inet": ("10.1.2.3/8", "::1", "2001:db8::/33", "255.255.255.255", "::ffff:1.2.3.4"),
    "cidr": ("10.0.0.0/8", "2001:db8::/32", "1.2.3.4/32"),
    "macaddr": ("08:00:2b:01:02:03",),
    "macaddr8": ("08:00:2b:ff:fe:01:02:03",),
    "tsvector": ("'a':1A,2B,16383 'it''s':3 '\\\\':4", "", "'éé' 'zz 🎂'"),
    "tsquery": ("'a' & !('b':*A | 'c') <2> 'd'", ""),
    "oid": ("4294967295", "0"),
    "xid": ("4294967295",),
    "xid8": ("18446744073709551615",),
    "cid": ("7",),
    "tid": ("(4294967295,65535)",),
    "pg_lsn": ("FFFFFFFF/FFFFFFFF", "0/0"),
    "txid_snapshot": ("10:20:10,14,15",),
    "pg_snapshot": ("10:20:10,14,15",),
    "int2vector": ("1 2 -3", ""),
    "oidvector": ("1 4294967295",),
    "int4range": RANGES,
    "int8range": RANGES,
    "numrange": ("[1.10,NaN]", "(-Infinity,0.00]", "empty"),
    "tsrange": ('["2026-01-01 10:00",infinity]', "(,)", '["0044-03-15 00:00 BC","2026-01-01 00:00:00.000001")'),
    "tstzrange": (
        '["2026-01-01 10:00+14",)',
        "(-infinity,infinity)",
        '["1850-01-01 00:00+00","294276-01-01 00:00+00"]',
    ),
    "daterange": ("[2026-01-01,infinity)", "(,2026-01-01]", "empty"),
    "int4multirange": ("{}", "{[1,2],[5,)}"),
    "nummultirange": ("{(,1.10],[2,2]}",),
    "tstzmultirange": ('{["2026-01-01 10:00+14",)}',),
    "datemultirange": ("{[2026-01-01,2026-01-03)}",),
    "price_range": ("[1.0,2.00)",),
    "price_ranges": ("{[1.0,2.00)}",),
    "mood": ("", 'sad, but "ok"', "it's \\", "NULL", "ñandú 🎂", "{a,b}"),
    '"odd schema"."Odd (1) type[]"': ("today", "never"),
    "place": ("(,,,,,,)", r'("a ""b"" \\, 🎂",-1,"0044-03-15 12:00:00+00 BC",NaN,"\\x00ff","{a,NULL,""""}",NULL)'),
    "nested": (r'("(x,1,,,,,)","{""(y,2,,,,,)"",NULL}")',),
    "email": ("", "a@b.example"),
    "score": ("-1",),
    "amount": ("0.10", "NaN"),
    "day": ("infinity", "0044-03-15 BC"),
    "scores": ("{{1,2},{3,NULL}}", "[0:1]={1,2}", "{}"),
    "deeper": ("{{1,2},{3,NULL}}", "{1}"),
    "whereabouts": ("(x,1,,,,,)",),
    "feeling": ("NULL", ""),
    "stay": ("[2026-01-01,2026-01-03)",),
    "pairs": ('"a"=>NULL, "b"=>"NULL"',),
    "hstore": ("", '"a"=>NULL, "b"=>"", "é, =>"=>"\\"\\\\", "aa"=>"1", "z"=>"NULL"', '"Z"=>"1", "zz"=>"2", "é"=>"3"'),
    "citext": ("", "AbC é"),
    "ltree": ("", "a.b_1.C"),
    "lquery": ("*.a{1,2}.!b",),
    "isbn": ("978-0-393-04002-9",),
    "ean13": ("978-0-393-04002-9",),
    "cube": ("(0.1, -2),(3, 4)",),
    "seg": ("1.00 .. 2",),
    "query_int": ("1 & (2 | !3)",),
    "integer[]": ("{}", "{1,NULL,-2147483648}", "{{1,2},{3,4}}", "[0:1]={1,2}", "[-2:-1][5:6]={{1,2},{3,4}}"),
    "integer[3]": ("{1,2,3,4}",),
    "smallint[]": ("{1,NULL}", "{{1},{2}}"),
    "bigint[]": ("{9223372036854775807,-9223372036854775808}",),
    "numeric[]": ("{NaN,Infinity,1.10,0.000,NULL}", "{{NaN},{1}}"),
    "numeric(12,2)[]": ("{1.10,NaN}",),
    "real[]": ("{NaN,-0,1e-45,0.1}",),
    "double precision[]": ("{NaN,-Infinity,5e-324,0.1}",),
    "boolean[]": ("{t,f,NULL}", "{{t},{f}}"),
    "text[]": ("{}", '{"",NULL,"NULL","a,b","\\"\\\\","é 🎂","{}"}', '{{a,b},{"c d",NULL}}', '[5:5]={"x"}'),
    "character varying(40)[]": ("{a,NULL}", "{{a}}"),
    "character(3)[]": ("{a,ab}",),
    '"char"[]': ("{a,b}",),
    "name[]": ("{a,NULL}",),
    "bytea[]": ('{"\\\\x00ff",NULL,"\\\\x"}', '{{"\\\\x00"}}'),
    "uuid[]": ("{00000000-0000-0000-0000-000000000000,NULL}",),
    "xml[]": ('{<a/>,"<b x=\\"1\\"/>"}',),
    "json[]": ('{"{\\"a\\" : 1, \\"a\\":2}",NULL}',),
    "jsonb[]": ('{"{\\"a\\": 1}","1e2",NULL}',),
    "date[]": ('{infinity,"0044-03-15 BC",NULL}', "{{2026-01-01}}"),
    "time[]": ("{24:00,NULL,00:00:00.000001}",),
    "time with time zone[]": ("{24:00-15:59,10:00+02}",),
    "timestamp[]": ('{infinity,"294276-12-31 23:59:59.999999","0044-03-15 00:00 BC"}',),
    "timestamp with time zone[]": ('{-infinity,"2026-01-01 10:00:00.000001+14","1850-01-01 00:00+00"}',),
    "interval[]": ('{"1 mon -1 days +00:00:00.000001",NULL,"-178956970 years -8 mons"}',),
    "money[]": ("{1.50,-92233720368547758.08}",),
    "bit(3)[]": ("{101,000,NULL}",),
    "bit varying[]": ('{101,"",0}',),
    "point[]": ('{"(0,-0)","(NaN,1)"}',),
    "box[]": ("{(2,3),(0,0);(1,1),(0,0)}",),
    "inet[]": ("{10.1.2.3/8,NULL,::1}",),
    "macaddr[]": ("{08:00:2b:01:02:03}",),
    "tsvector[]": ("{\"'a':1\",NULL}",),
    "oid[]": ("{4294967295}",),
    "pg_lsn[]": ("{0/0}",),
    "int4range[]": ('{"[1,5)",empty,NULL}',),
    "tstzrange[]": ('{"[\\"2026-01-01 10:00+14\\",)"}',),
    "int4multirange[]": ('{"{[1,2)}","{}"}',),
    "mood[]": ('{"","NULL",NULL,"it\'s \\\\","{a,b}"}', '{{"NULL"},{""}}', '[0:0]={""}'),
    "place[]": ('{"(x,1,,,,,)",NULL}', '{{"(,,,,,,)"}}'),
    "email[]": ('{"",a}',),
    "score[]": ("{1,NULL}", "{{1},{2}}"),
    "scores[]": ('{"{1,2}",NULL}',),
    "hstore[]": ('{"\\"a\\"=>NULL","",NULL}',),
    "citext[]": ('{A,"",NULL}',),
    "ltree[]": ("{a.b,NULL}",),
    "isbn[]": ("{978-0-393-04002-9}",),
    "cube[]": ('{"(1),(2)"}',),
}
REFUSED: Final = (
    *("regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator", "regproc"),
    *("regprocedure", "regrole", "regtype", "aclitem", "refcursor", "regclass[]", '"odd schema"."date"', "gtsvector"),
)
"""Types whose values mean something else in another database, or cannot be carried."""
