-- Functions of Databricks SQL that DuckDB lacks or means differently, each under its name there with the prefix spark_.
-- Those with the prefix spark__ are parts of others: no statement can call them. The rewriter calls nothing that is neither here nor
-- in its own lists.

-- ------------------------------------------------------------------------------------------------ errors
-- Not DuckDB's error(): to DuckDB, it has an effect, and so it is refused in PARTITION BY and under a name that others use.
CREATE MACRO spark_raise_error(message) AS spark__fail('[USER_RAISED_EXCEPTION] ' || coalesce(message, 'null') || ' SQLSTATE: P0001');
CREATE MACRO spark_assert_true(a) AS CASE WHEN a THEN NULL ELSE spark_raise_error('Assertion is not true.') END,
    (a, message) AS CASE WHEN a THEN NULL ELSE spark_raise_error(message) END;
CREATE MACRO spark__by_zero() AS spark__fail('[DIVIDE_BY_ZERO] Division by zero. Use `try_divide` to tolerate divisor being 0 and return NULL instead. SQLSTATE: 22012');
CREATE MACRO spark__no_rest() AS spark__fail('[REMAINDER_BY_ZERO] Remainder by zero. Use `try_mod` to tolerate divisor being 0 and return NULL instead. SQLSTATE: 22012');
CREATE MACRO spark__no_order() AS spark__fail('[COMPARATOR_RETURNS_NULL] The comparator has returned a NULL for a comparison. It should return a positive integer for "greater than", 0 for "equal" and a negative integer for "less than". SQLSTATE: 22004');
CREATE MACRO spark__no_index(i, n) AS spark__fail('[INVALID_ARRAY_INDEX] The index ' || i || ' is out of bounds. The array has ' || n || ' elements. Use the SQL function `get()` to tolerate accessing element at invalid index and return NULL instead. SQLSTATE: 22003');

-- The values are the documentation's example.
CREATE MACRO spark_version() AS '3.1.0 a6d6ea3efedbad14d99c24143834cd4e2e52fb40';
CREATE MACRO spark_current_version() AS {'dbr_version': NULL::VARCHAR, 'dbsql_version': '2022.25', 'u_build_hash': '', 'r_build_hash': ''};

-- ------------------------------------------------------------------------------------------------ numbers
-- The type of a value is told to a routine when the statement is bound, and the routine tells the type to go on with.
CREATE MACRO spark__noted(place, a) AS list_transform([a], lambda it: cast_to_type(NULL, json_transform('null', spark__note(place, typeof(it)))))[1];
CREATE MACRO spark_divide(a, b) AS CASE WHEN CAST(b AS DOUBLE) = 0 THEN CASE WHEN a IS NULL THEN NULL ELSE spark__by_zero() END ELSE CAST(a AS DOUBLE) / CAST(b AS DOUBLE) END;
CREATE MACRO spark_try_divide(a, b) AS CASE WHEN CAST(b AS DOUBLE) = 0 THEN NULL ELSE CAST(a AS DOUBLE) / CAST(b AS DOUBLE) END;
CREATE MACRO spark_mod(a, b) AS CASE WHEN b = 0 THEN spark__no_rest() ELSE a % nullif(b, 0) END;
CREATE MACRO spark_try_mod(a, b) AS a % nullif(b, 0);
CREATE MACRO spark_pmod(a, b) AS CASE WHEN b = 0 THEN spark__no_rest() WHEN a % nullif(b, 0) < 0 THEN (a % nullif(b, 0) + b) % nullif(b, 0) ELSE a % nullif(b, 0) END;
CREATE MACRO spark_div(a, b) AS CASE WHEN b = 0 THEN spark__by_zero() ELSE CAST(trunc((a - a % nullif(b, 0)) / nullif(b, 0)) AS BIGINT) END;
CREATE MACRO spark__mean_of(plan, a) AS spark__computed(plan, CAST(list_sum(a) AS VARCHAR), CAST(nullif(list_count(a), 0) AS VARCHAR));
CREATE MACRO spark_try_add(a, b) AS TRY(a + b);
CREATE MACRO spark_try_subtract(a, b) AS TRY(a - b);
CREATE MACRO spark_try_multiply(a, b) AS TRY(a * b);
-- To a place, they are computed as DECIMAL (_exact).
CREATE MACRO spark_ceil(a) AS CAST(ceil(a) AS BIGINT), (a, n) AS ceil(a);
CREATE MACRO spark_floor(a) AS CAST(floor(a) AS BIGINT), (a, n) AS floor(a);
-- A DOUBLE is rounded by its digits: 2.675 is 2.68, though the number itself is a little less.
CREATE MACRO spark_round(a) AS round(a), (a, n) AS list_transform([a], lambda it: cast_to_type(CASE WHEN typeof(it) = 'DOUBLE' THEN coalesce(CAST(round(TRY_CAST(CAST(it AS VARCHAR) AS DECIMAL(38, 22)), n) AS VARCHAR), CAST(it AS VARCHAR)) ELSE CAST(round(it, n) AS VARCHAR) END, it))[1];
CREATE MACRO spark_bround(a) AS round_even(a, 0), (a, n) AS round_even(a, n);
CREATE MACRO spark_rint(a) AS round_even(CAST(a AS DOUBLE), 0);
CREATE MACRO spark_ln(a) AS CASE WHEN a > 0 THEN ln(a) END;
CREATE MACRO spark_log(a) AS spark_ln(a), (base, a) AS spark_ln(a) / spark_ln(base);
CREATE MACRO spark_log10(a) AS CASE WHEN a > 0 THEN log10(a) END;
CREATE MACRO spark_log2(a) AS CASE WHEN a > 0 THEN log2(a) END;
CREATE MACRO spark_log1p(a) AS spark_ln(1 + a);
CREATE MACRO spark_expm1(a) AS exp(a) - 1;
CREATE MACRO spark_sqrt(a) AS CASE WHEN a < 0 THEN CAST('nan' AS DOUBLE) ELSE sqrt(a) END;
CREATE MACRO spark_sign(a) AS CAST(sign(a) AS DOUBLE);
CREATE MACRO spark_negative(a) AS -a;
CREATE MACRO spark_positive(a) AS a;
CREATE MACRO spark_e() AS exp(1);
CREATE MACRO spark_hypot(a, b) AS sqrt(a * a + b * b);
CREATE MACRO spark_factorial(n) AS CASE WHEN n BETWEEN 0 AND 20 THEN CAST(factorial(CAST(n AS INTEGER)) AS BIGINT) END;
CREATE MACRO spark_width_bucket(v, low, high, n) AS CAST(CASE WHEN low = high OR n <= 0 THEN NULL WHEN (v - low) * (high - low) < 0 THEN 0 WHEN (v - high) * (high - low) >= 0 THEN n + 1 ELSE floor((v - low) / (high - low) * n) + 1 END AS BIGINT);
CREATE MACRO spark_getbit(a, n) AS CASE WHEN n >= 0 AND n < CASE typeof(a) WHEN 'TINYINT' THEN 8 WHEN 'SMALLINT' THEN 16 WHEN 'INTEGER' THEN 32 ELSE 64 END THEN CAST((CAST(a AS BIGINT) >> n) & 1 AS TINYINT) WHEN n IS NOT NULL THEN spark__fail('[INVALID_PARAMETER_VALUE.BIT_POSITION_RANGE] The value of parameter(s) `pos` in `getbit` is invalid: got ' || n || '. SQLSTATE: 22023') END;
CREATE MACRO spark_bit_count(a) AS CAST(bit_count(CAST(a AS BIGINT)) AS INTEGER);
CREATE MACRO spark_skewness(a) AS CASE WHEN var_pop(a) = 0 THEN NULL WHEN count(a) = 2 THEN 0.0 ELSE skewness(a) * (count(a) - 2) / sqrt(count(a) * (count(a) - 1)) END;
CREATE MACRO spark_shiftleft(a, n) AS a << n;
CREATE MACRO spark_shiftright(a, n) AS a >> n;
CREATE MACRO spark_bin(a) AS bin(CAST(a AS BIGINT));
CREATE MACRO spark_hex(a VARCHAR) AS hex(a), (a BLOB) AS hex(a), (a) AS hex(CAST(a AS BIGINT));
CREATE MACRO spark_conv(a, f, t) AS CASE WHEN f = 10 AND t = 16 THEN hex(CAST(a AS BIGINT)) WHEN f = 10 AND t = 2 THEN bin(CAST(a AS BIGINT)) WHEN f = 16 AND t = 10 THEN CAST(CAST('0x' || a AS BIGINT) AS VARCHAR) WHEN f = 2 AND t = 10 THEN CAST(CAST('0b' || a AS BIGINT) AS VARCHAR) ELSE spark__fail('[UNSUPPORTED_FEATURE] The local workspace does not serve conv between these bases SQLSTATE: 0A000') END;
CREATE MACRO spark_rand() AS random();
CREATE MACRO spark_randn() AS sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random());
CREATE MACRO spark_nanvl(a, b) AS CASE WHEN isnan(CAST(a AS DOUBLE)) THEN b ELSE a END;
CREATE MACRO spark_csc(a) AS 1 / sin(a);
CREATE MACRO spark_sec(a) AS 1 / cos(a);
-- By the type's name and not by overloads: what an aggregate returns is not known yet when overloads are chosen.
CREATE MACRO spark__whole_text(a) AS CASE WHEN typeof(a) = 'BOOLEAN' THEN CAST(TRY_CAST(a AS INTEGER) AS VARCHAR) WHEN typeof(a) = 'TIMESTAMP' THEN CAST(CAST(floor(epoch(TRY_CAST(a AS TIMESTAMP))) AS BIGINT) AS VARCHAR) WHEN typeof(a) IN ('DOUBLE', 'FLOAT') THEN CAST(CAST(trunc(TRY_CAST(a AS DOUBLE)) AS HUGEINT) AS VARCHAR) WHEN typeof(a) LIKE 'DECIMAL%' THEN split_part(spark__decimal_text(CAST(a AS VARCHAR)), '.', 1) ELSE trim(CAST(a AS VARCHAR)) END;
CREATE MACRO spark__try_whole(a) AS CASE WHEN typeof(a) <> 'VARCHAR' OR regexp_full_match(spark__whole_text(a), '[+-]?\d+') THEN spark__whole_text(a) END;
CREATE MACRO spark__whole(a) AS CASE WHEN a IS NULL THEN NULL WHEN typeof(a) <> 'VARCHAR' OR regexp_full_match(spark__whole_text(a), '[+-]?\d+') THEN spark__whole_text(a) ELSE spark__fail('[CAST_INVALID_INPUT] The value ''' || CAST(a AS VARCHAR) || ''' of the type "STRING" cannot be cast to a whole number because it is malformed. Use `try_cast` to tolerate malformed input and return NULL instead. SQLSTATE: 22018') END;
-- DuckDB writes a DECIMAL that has no digit before its point as .5.
CREATE MACRO spark__decimal_text(t) AS regexp_replace(t, '^(-?)\.', '\10.');
CREATE MACRO spark_string(a) AS CASE WHEN typeof(a) IN ('DOUBLE', 'FLOAT') THEN spark__double_text(CAST(a AS VARCHAR)) WHEN typeof(a) = 'JSON' THEN json_extract_string(CAST(a AS VARCHAR), '$') WHEN regexp_matches(typeof(a), '\]$|^(MAP|STRUCT)') THEN spark__cast_text(typeof(a), CAST(to_json(a) AS VARCHAR)) WHEN typeof(a) LIKE 'DECIMAL%' THEN spark__decimal_text(CAST(a AS VARCHAR)) ELSE CAST(a AS VARCHAR) END;
-- What is cast implicitly: no array, map or struct.
CREATE MACRO spark__text(a) AS CASE WHEN regexp_matches(typeof(a), '\]$|^(MAP|STRUCT)') THEN spark__fail('[DATATYPE_MISMATCH] An array, map or struct stands where a STRING is expected. SQLSTATE: 42K09') ELSE spark_string(a) END;

-- ------------------------------------------------------------------------------------------------ conditions
CREATE MACRO spark_if(a, b, c) AS CASE WHEN a THEN b ELSE c END;
CREATE MACRO spark_nvl(a, b) AS coalesce(a, b);
CREATE MACRO spark_nvl2(a, b, c) AS CASE WHEN a IS NOT NULL THEN b ELSE c END;
CREATE MACRO spark_nullifzero(a) AS nullif(a, 0);
CREATE MACRO spark_isnull(a) AS a IS NULL;
CREATE MACRO spark_isnotnull(a) AS a IS NOT NULL;
CREATE MACRO spark_equal_null(a, b) AS a IS NOT DISTINCT FROM b;
CREATE MACRO spark_isnan(a) AS coalesce(isnan(CAST(a AS DOUBLE)), false);

-- ------------------------------------------------------------------------------------------------ text
CREATE MACRO spark_length(a) AS CAST(CASE WHEN typeof(a) = 'BLOB' THEN octet_length(CAST(CAST(a AS VARCHAR) AS BLOB)) ELSE length(spark__text(a)) END AS INTEGER);
CREATE MACRO spark_octet_length(a) AS CAST(octet_length(encode(CAST(a AS VARCHAR))) AS INTEGER);
CREATE MACRO spark_bit_length(a) AS CAST(bit_length(CAST(a AS VARCHAR)) AS INTEGER);
CREATE MACRO spark__part(a, s, sep) AS CASE WHEN typeof(a) LIKE '%[]' THEN array_to_string(TRY_CAST(to_json(a) AS VARCHAR[]), sep) ELSE spark_string(a) END;
CREATE MACRO spark_upper(a) AS upper(replace(a, 'ß', 'SS'));
CREATE MACRO spark_substring(a, p) AS substring(CAST(a AS VARCHAR), CASE WHEN p = 0 THEN 1 ELSE p END), (a, p, n) AS CASE WHEN n <= 0 THEN '' ELSE substring(CAST(a AS VARCHAR), CASE WHEN p = 0 THEN 1 ELSE p END, n) END;
CREATE MACRO spark_left(a, n) AS CASE WHEN n <= 0 THEN '' ELSE left(CAST(a AS VARCHAR), n) END;
CREATE MACRO spark_right(a, n) AS CASE WHEN n <= 0 THEN '' ELSE right(CAST(a AS VARCHAR), n) END;
CREATE MACRO spark_substring_index(a, d, n) AS CASE WHEN n = 0 OR d = '' THEN '' WHEN n > 0 THEN array_to_string(array_slice(string_split(a, d), 1, n), d) ELSE array_to_string(array_slice(string_split(a, d), greatest(len(string_split(a, d)) + n + 1, 1), len(string_split(a, d))), d) END;
CREATE MACRO spark_instr(a, b) AS CAST(strpos(a, b) AS INTEGER);
CREATE MACRO spark_locate(b, a) AS CAST(strpos(a, b) AS INTEGER), (b, a, p) AS CAST(CASE WHEN p < 1 OR strpos(substring(a, p), b) = 0 THEN 0 ELSE strpos(substring(a, p), b) + p - 1 END AS INTEGER);
CREATE MACRO spark_lpad(a, n) AS lpad(CAST(a AS VARCHAR), n, ' '), (a, n, p) AS CASE WHEN CAST(p AS VARCHAR) = '' THEN left(CAST(a AS VARCHAR), n) ELSE lpad(CAST(a AS VARCHAR), n, CAST(p AS VARCHAR)) END;
CREATE MACRO spark_rpad(a, n) AS rpad(CAST(a AS VARCHAR), n, ' '), (a, n, p) AS CASE WHEN CAST(p AS VARCHAR) = '' THEN left(CAST(a AS VARCHAR), n) ELSE rpad(CAST(a AS VARCHAR), n, CAST(p AS VARCHAR)) END;
CREATE MACRO spark_ltrim(a) AS ltrim(a, ' '), (chars, a) AS ltrim(a, chars);
CREATE MACRO spark_rtrim(a) AS rtrim(a, ' '), (chars, a) AS rtrim(a, chars);
CREATE MACRO spark_trim(a) AS trim(a, ' ');
CREATE MACRO spark_btrim(a) AS trim(a, ' '), (a, chars) AS trim(a, chars);
CREATE MACRO spark_initcap(a) AS array_to_string(list_transform(string_split(lower(a), ' '), lambda w: upper(left(w, 1)) || substring(w, 2)), ' ');
CREATE MACRO spark_space(n) AS repeat(' ', n);
CREATE MACRO spark_repeat(a, n) AS repeat(CAST(a AS VARCHAR), greatest(n, 0));
CREATE MACRO spark_replace(a, b) AS replace(a, b, ''), (a, b, c) AS CASE WHEN b = '' THEN a ELSE replace(a, b, c) END;
CREATE MACRO spark_reverse(a VARCHAR) AS reverse(a), (a) AS list_reverse(a);
CREATE MACRO spark_ascii(a) AS CASE WHEN a = '' THEN 0 ELSE unicode(a) END;
CREATE MACRO spark_chr(n) AS CASE WHEN n < 0 THEN '' ELSE chr(CAST(n % 256 AS INTEGER)) END;
CREATE MACRO spark_split(a, p) AS CASE WHEN p = '' THEN string_split(a, '') ELSE string_split_regex(a, p) END,
    (a, p, n) AS CASE WHEN n <= 0 THEN string_split_regex(a, p) WHEN len(string_split_regex(a, p)) <= n THEN string_split_regex(a, p) WHEN n = 1 THEN [a] ELSE list_append(array_slice(string_split_regex(a, p), 1, n - 1), regexp_extract(a, '^(?s:(?:.*?(?:' || p || ')){' || (n - 1) || '}(.*))$', 1)) END;
CREATE MACRO spark_split_part(a, d, n) AS CASE WHEN n = 0 THEN spark__fail('[INVALID_INDEX_OF_ZERO] The index 0 is invalid. An index shall be either < 0 or > 0 (the first element has index 1). SQLSTATE: 22003') WHEN d = '' THEN CASE WHEN abs(n) = 1 THEN a ELSE '' END ELSE split_part(a, d, n) END;
CREATE MACRO spark_regexp_like(a, p) AS regexp_matches(a, p);
-- Of all that fit: DuckDB's function for the first one overlooks that a pattern has no such group.
CREATE MACRO spark_regexp_extract(a, p) AS CASE WHEN a IS NOT NULL THEN coalesce(regexp_extract_all(a, p, 1)[1], '') END, (a, p, i) AS CASE WHEN a IS NOT NULL THEN coalesce(regexp_extract_all(a, p, i)[1], '') END;
CREATE MACRO spark_regexp_extract_all(a, p) AS regexp_extract_all(a, p, 1), (a, p, i) AS regexp_extract_all(a, p, i);
CREATE MACRO spark_regexp_replace(a, p, r) AS regexp_replace(a, p, regexp_replace(r, '\$(\d)', '\\\1', 'g'), 'g'), (a, p, r, n) AS left(a, n - 1) || regexp_replace(substring(a, n), p, regexp_replace(r, '\$(\d)', '\\\1', 'g'), 'g');
CREATE MACRO spark_regexp_count(a, p) AS CAST(len(regexp_extract_all(a, p)) AS INTEGER);
CREATE MACRO spark_regexp_substr(a, p) AS CASE WHEN regexp_matches(a, p) THEN regexp_extract(a, p) END;
CREATE MACRO spark_regexp_instr(a, p) AS CASE WHEN regexp_matches(a, p) THEN CAST(length(regexp_extract(a, '^((?s:.*?))(?:' || p || ')', 1)) + 1 AS INTEGER) WHEN a IS NOT NULL AND p IS NOT NULL THEN 0 END;
CREATE MACRO spark_startswith(a, b) AS starts_with(a, b);
CREATE MACRO spark_endswith(a, b) AS ends_with(a, b);
CREATE MACRO spark_contains(a, b) AS contains(a, b);
CREATE MACRO spark_format_number(a, p VARCHAR) AS spark__number_by_pattern(typeof(a), CAST(a AS VARCHAR), p), (a, n) AS CASE WHEN n >= 0 THEN spark__number_by_pattern(typeof(a), CAST(a AS VARCHAR), rpad('#,##0.', 6 + n, '0')) END;
CREATE MACRO spark_base64(a BLOB) AS to_base64(a), (a) AS to_base64(encode(CAST(a AS VARCHAR)));
CREATE MACRO spark_unbase64(a) AS from_base64(a);
CREATE MACRO spark_sha2(a BLOB, n) AS spark__digest(a, CAST(n AS VARCHAR)), (a, n) AS spark__digest(encode(CAST(a AS VARCHAR)), CAST(n AS VARCHAR));
CREATE MACRO spark_find_in_set(a, b) AS CASE WHEN contains(a, ',') THEN 0 ELSE coalesce(list_position(string_split(b, ','), a), CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE 0 END) END;
CREATE MACRO spark_overlay(a, b, p, n) AS left(a, p - 1) || b || substring(a, p + CASE WHEN n < 0 THEN length(b) ELSE n END);
CREATE MACRO spark_url_encode(a) AS replace(url_encode(a), '%20', '+');
CREATE MACRO spark_url_decode(a) AS url_decode(replace(a, '+', ' '));
CREATE MACRO spark_encode(a, c) AS CASE WHEN upper(c) = 'UTF-8' THEN encode(a) ELSE spark__fail('[UNSUPPORTED_FEATURE] The local workspace encodes UTF-8 only SQLSTATE: 0A000') END;
CREATE MACRO spark__charset(a, c) AS CASE WHEN upper(c) = 'UTF-8' THEN decode(a) ELSE spark__fail('[UNSUPPORTED_FEATURE] The local workspace decodes UTF-8 only SQLSTATE: 0A000') END;
CREATE MACRO spark_parse_url(u, part) AS CASE part WHEN 'HOST' THEN nullif(regexp_extract(u, '^[a-z+]+://(?:[^@/]*@)?([^/:?#]+)', 1), '') WHEN 'PROTOCOL' THEN nullif(regexp_extract(u, '^([a-z+]+)://', 1), '') WHEN 'PATH' THEN regexp_extract(u, '^[a-z+]+://[^/?#]*([^?#]*)', 1) WHEN 'QUERY' THEN nullif(regexp_extract(u, '\?([^#]*)', 1), '') WHEN 'REF' THEN nullif(regexp_extract(u, '#(.*)$', 1), '') END,
    (u, part, k) AS CASE WHEN part = 'QUERY' THEN nullif(regexp_extract(u, '[?&]' || k || '=([^&#]*)', 1), '') END;
CREATE MACRO spark_mask(a) AS regexp_replace(regexp_replace(regexp_replace(a, '[A-Z]', 'X', 'g'), '[a-z]', 'x', 'g'), '[0-9]', 'n', 'g');
CREATE MACRO spark_monotonically_increasing_id() AS row_number() OVER () - 1;
CREATE MACRO spark_uuid() AS CAST(uuid() AS VARCHAR);
CREATE MACRO spark_crc32(a BLOB) AS spark__crc32_bytes(a), (a) AS spark__crc32_bytes(encode(CAST(a AS VARCHAR)));
CREATE MACRO spark_to_number(a, p) AS spark__parsed_number(CAST(a AS VARCHAR), p);
CREATE MACRO spark_try_to_number(a, p) AS spark__try_parsed_number(CAST(a AS VARCHAR), p);

-- ------------------------------------------------------------------------------------------------ dates and times
-- A macro repeats its argument wherever it names it. A lambda names it once: calls within calls do not multiply.
CREATE MACRO spark_plus(a DATE, i INTERVAL) AS CAST(a + i AS DATE), (a VARCHAR, i INTERVAL) AS CAST(CAST(a AS TIMESTAMP) + i AS VARCHAR), (a, i) AS a + i;
CREATE MACRO spark_minus(a DATE, i INTERVAL) AS CAST(a - i AS DATE), (a VARCHAR, i INTERVAL) AS CAST(CAST(a AS TIMESTAMP) - i AS VARCHAR),
    (a DATE, i DATE) AS to_days(CAST(a - i AS INTEGER)), (a, i) AS a - i;
CREATE MACRO spark__no_cast(a, kind) AS spark__fail('[CAST_INVALID_INPUT] The value ''' || CAST(a AS VARCHAR) || ''' of the type "STRING" cannot be cast to "' || kind || '" because it is malformed. Correct the value as per the syntax, or change its target type. Use `try_cast` to tolerate malformed input and return NULL instead. SQLSTATE: 22018');
CREATE MACRO spark__day_text(a) AS regexp_replace(regexp_replace(trim(a), '^(\d{4})$', '\1-01-01'), '^(\d{4}-\d{1,2})$', '\1-01');
CREATE MACRO spark_try_date(a) AS list_transform([a], lambda it: coalesce(TRY_CAST(it AS DATE), TRY_CAST(regexp_replace(spark__day_text(CAST(it AS VARCHAR)), '[T ].*$', '') AS DATE)))[1];
CREATE MACRO spark_date(a) AS list_transform([a], lambda it: CASE WHEN it IS NULL THEN NULL ELSE coalesce(spark_try_date(it), spark__no_cast(it, 'DATE')) END)[1];
CREATE MACRO spark__moment(a) AS timezone('UTC', TRY_CAST(a AS TIMESTAMPTZ));
CREATE MACRO spark_try_timestamp(a) AS list_transform([a], lambda it: coalesce(spark__moment(it), spark__moment(spark__day_text(CAST(it AS VARCHAR))), CASE WHEN typeof(it) NOT IN ('VARCHAR', 'DATE', 'TIMESTAMP') THEN make_timestamp(TRY_CAST(TRY_CAST(it AS DOUBLE) * 1000000 AS BIGINT)) END))[1];
CREATE MACRO spark_timestamp(a) AS list_transform([a], lambda it: CASE WHEN it IS NULL THEN NULL ELSE coalesce(spark_try_timestamp(it), spark__no_cast(it, 'TIMESTAMP')) END)[1];
-- A date or moment needs no pattern.
CREATE MACRO spark__parsed(a DATE, p) AS CAST(a AS TIMESTAMP), (a TIMESTAMP, p) AS a, (a, p) AS strptime(a, p);
CREATE MACRO spark__try_parsed(a DATE, p) AS CAST(a AS TIMESTAMP), (a TIMESTAMP, p) AS a, (a, p) AS try_strptime(a, p);
CREATE MACRO spark__days(n) AS CASE WHEN regexp_matches(typeof(n), 'BIGINT|DECIMAL|DOUBLE|FLOAT|BOOLEAN') THEN spark__fail('[DATATYPE_MISMATCH] A number of days is an INT, SMALLINT or TINYINT. SQLSTATE: 42K09') ELSE CAST(n AS INTEGER) END;
CREATE MACRO spark_date_add(a, n) AS CAST(spark_date(a) + spark__days(n) AS DATE);
CREATE MACRO spark_date_sub(a, n) AS CAST(spark_date(a) - spark__days(n) AS DATE);
CREATE MACRO spark_datediff(a, b) AS CAST(spark_date(a) - spark_date(b) AS INTEGER);
CREATE MACRO spark_add_months(a, n) AS CAST(spark_date(a) + to_months(CAST(n AS INTEGER)) AS DATE);
CREATE MACRO spark__calendar_months(a, b) AS (year(b) - year(a)) * 12 + month(b) - month(a);
CREATE MACRO spark__since_month(a) AS day(a) * 86400000000 + (epoch_us(a) - epoch_us(date_trunc('day', a)));
CREATE MACRO spark__months_passed(a, b) AS spark__calendar_months(a, b) - CASE WHEN spark__calendar_months(a, b) > 0 AND spark__since_month(b) < spark__since_month(a) THEN 1 WHEN spark__calendar_months(a, b) < 0 AND spark__since_month(b) > spark__since_month(a) THEN -1 ELSE 0 END;
CREATE MACRO spark_timestampdiff(u, a, b) AS list_transform([{'a': spark_timestamp(a), 'b': spark_timestamp(b)}], lambda pair: CAST(CASE u WHEN 'month' THEN spark__months_passed(pair.a, pair.b) WHEN 'quarter' THEN trunc(spark__months_passed(pair.a, pair.b) / 3) WHEN 'year' THEN trunc(spark__months_passed(pair.a, pair.b) / 12) ELSE date_sub(u, pair.a, pair.b) END AS BIGINT))[1];
CREATE MACRO spark_last_day(a) AS last_day(spark_date(a));
CREATE MACRO spark__weekday_number(n) AS list_position(['MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU'], upper(left(n, 2)));
CREATE MACRO spark_next_day(a, n) AS CAST(spark_date(a) + CAST((spark__weekday_number(n) - isodow(spark_date(a)) + 6) % 7 + 1 AS INTEGER) AS DATE);
CREATE MACRO spark__months(a, b, off) AS list_transform([{'a': spark_timestamp(a), 'b': spark_timestamp(b)}], lambda pair: CASE
    WHEN day(pair.a) = day(pair.b) OR (CAST(pair.a AS DATE) = last_day(pair.a) AND CAST(pair.b AS DATE) = last_day(pair.b))
    THEN CAST((year(pair.a) - year(pair.b)) * 12 + month(pair.a) - month(pair.b) AS DOUBLE)
    ELSE round((year(pair.a) - year(pair.b)) * 12 + month(pair.a) - month(pair.b) + (day(pair.a) - day(pair.b) + (epoch(pair.a) % 86400 - epoch(pair.b) % 86400) / 86400) / 31, CASE WHEN off THEN 8 ELSE 15 END) END)[1];
CREATE MACRO spark_months_between(a, b) AS spark__months(a, b, true), (a, b, off) AS spark__months(a, b, off);
CREATE MACRO spark__unit(u) AS CASE upper(u) WHEN 'YYYY' THEN 'year' WHEN 'YY' THEN 'year' WHEN 'YEAR' THEN 'year' WHEN 'QUARTER' THEN 'quarter' WHEN 'MONTH' THEN 'month' WHEN 'MON' THEN 'month' WHEN 'MM' THEN 'month' WHEN 'WEEK' THEN 'week' WHEN 'DAY' THEN 'day' WHEN 'DD' THEN 'day' WHEN 'HOUR' THEN 'hour' WHEN 'MINUTE' THEN 'minute' WHEN 'SECOND' THEN 'second' WHEN 'MILLISECOND' THEN 'millisecond' WHEN 'MICROSECOND' THEN 'microsecond' END;
CREATE MACRO spark_date_trunc(u, a) AS CASE WHEN spark__unit(u) IS NOT NULL THEN CAST(date_trunc(coalesce(spark__unit(u), 'day'), spark_timestamp(a)) AS TIMESTAMP) END;
CREATE MACRO spark_trunc(a, u) AS CASE WHEN spark__unit(u) IN ('year', 'quarter', 'month', 'week') THEN CAST(date_trunc(coalesce(spark__unit(u), 'day'), spark_timestamp(a)) AS DATE) END;
CREATE MACRO spark__step(a) AS TRY_CAST(CAST(a AS VARCHAR) AS INTERVAL);
CREATE MACRO spark_year(a) AS CAST(CASE WHEN typeof(a) = 'INTERVAL' THEN year(spark__step(a)) ELSE year(spark_date(a)) END AS INTEGER);
CREATE MACRO spark_quarter(a) AS CAST(quarter(spark_date(a)) AS INTEGER);
CREATE MACRO spark_month(a) AS CAST(CASE WHEN typeof(a) = 'INTERVAL' THEN month(spark__step(a)) ELSE month(spark_date(a)) END AS INTEGER);
CREATE MACRO spark_day(a) AS CAST(CASE WHEN typeof(a) = 'INTERVAL' THEN day(spark__step(a)) ELSE day(spark_date(a)) END AS INTEGER);
CREATE MACRO spark_dayofyear(a) AS CAST(dayofyear(spark_date(a)) AS INTEGER);
CREATE MACRO spark_dayofweek(a) AS CAST(dayofweek(spark_date(a)) + 1 AS INTEGER);
CREATE MACRO spark_weekday(a) AS CAST(isodow(spark_date(a)) - 1 AS INTEGER);
CREATE MACRO spark__dayofweek_iso(a) AS CAST(isodow(spark_date(a)) AS INTEGER);
CREATE MACRO spark_weekofyear(a) AS CAST(week(spark_date(a)) AS INTEGER);
CREATE MACRO spark_yearofweek(a) AS CAST(isoyear(spark_date(a)) AS INTEGER);
CREATE MACRO spark_hour(a) AS CAST(CASE WHEN typeof(a) = 'INTERVAL' THEN hour(spark__step(a)) ELSE hour(spark_timestamp(a)) END AS INTEGER);
CREATE MACRO spark_minute(a) AS CAST(CASE WHEN typeof(a) = 'INTERVAL' THEN minute(spark__step(a)) ELSE minute(spark_timestamp(a)) END AS INTEGER);
CREATE MACRO spark_second(a) AS CAST(second(spark_timestamp(a)) AS INTEGER);
CREATE MACRO spark__seconds(a) AS CAST(CASE WHEN typeof(a) = 'INTERVAL' THEN microsecond(spark__step(a)) / 1000000 ELSE second(spark_timestamp(a)) + (microsecond(spark_timestamp(a)) % 1000000) / 1000000 END AS DECIMAL(8, 6));
CREATE MACRO spark_dayname(a) AS left(dayname(spark_date(a)), 3);
CREATE MACRO spark_monthname(a) AS left(monthname(spark_date(a)), 3);
CREATE MACRO spark_make_date(y, m, d) AS make_date(CAST(y AS BIGINT), CAST(m AS BIGINT), CAST(d AS BIGINT));
CREATE MACRO spark_make_timestamp(y, mo, d, h, mi, s) AS make_timestamp(y, mo, d, h, mi, CAST(s AS DOUBLE));
-- As results have it (inferred): 1-2 of years and months, 1 02:03:04.000000000 of days and smaller units.
CREATE MACRO spark__interval_text(i) AS CASE
    WHEN i = to_months(12 * year(i) + month(i)) AND i <> to_days(0) THEN format('{}{}-{}', CASE WHEN i < to_days(0) THEN '-' ELSE '' END, abs(year(i)), abs(month(i)))
    WHEN 12 * year(i) + month(i) = 0 THEN format('{}{} {:02d}:{:02d}:{:02d}.{:06d}000', CASE WHEN i < to_days(0) THEN '-' ELSE '' END, abs(epoch_us(i)) // 86400000000, abs(epoch_us(i)) // 3600000000 % 24, abs(epoch_us(i)) // 60000000 % 60, abs(epoch_us(i)) // 1000000 % 60, abs(epoch_us(i)) % 1000000)
    WHEN i IS NOT NULL THEN spark__fail('[UNSUPPORTED_FEATURE] The local workspace does not run this statement: an interval of months and days is not served. SQLSTATE: 0A000') END;
CREATE MACRO spark_make_interval(y) AS to_years(y), (y, mo) AS to_years(y) + to_months(mo), (y, mo, w) AS to_years(y) + to_months(mo) + to_weeks(w), (y, mo, w, d) AS to_years(y) + to_months(mo) + to_weeks(w) + to_days(d),
    (y, mo, w, d, h) AS to_years(y) + to_months(mo) + to_weeks(w) + to_days(d) + to_hours(h), (y, mo, w, d, h, mi) AS to_years(y) + to_months(mo) + to_weeks(w) + to_days(d) + to_hours(h) + to_minutes(mi), (y, mo, w, d, h, mi, s) AS to_years(y) + to_months(mo) + to_weeks(w) + to_days(d) + to_hours(h) + to_minutes(mi) + to_seconds(s);
CREATE MACRO spark_make_dt_interval(d) AS to_days(d), (d, h) AS to_days(d) + to_hours(h), (d, h, mi) AS to_days(d) + to_hours(h) + to_minutes(mi), (d, h, mi, s) AS to_days(d) + to_hours(h) + to_minutes(mi) + to_seconds(s);
CREATE MACRO spark_make_ym_interval(y) AS to_years(y), (y, mo) AS to_years(y) + to_months(mo);
CREATE MACRO spark_window(a, size) AS {'start': make_timestamp(epoch_us(spark_timestamp(a)) - ((epoch_us(spark_timestamp(a)) % epoch_us(size)) + epoch_us(size)) % epoch_us(size)), 'end': make_timestamp(epoch_us(spark_timestamp(a)) - ((epoch_us(spark_timestamp(a)) % epoch_us(size)) + epoch_us(size)) % epoch_us(size) + epoch_us(size))};
CREATE MACRO spark_unix_timestamp(a) AS CAST(floor(epoch(spark_timestamp(a))) AS BIGINT);
CREATE MACRO spark_unix_seconds(a) AS CAST(floor(epoch(spark_timestamp(a))) AS BIGINT);
CREATE MACRO spark_unix_millis(a) AS CAST(epoch_ms(spark_timestamp(a)) AS BIGINT);
CREATE MACRO spark_unix_micros(a) AS CAST(epoch_us(spark_timestamp(a)) AS BIGINT);
CREATE MACRO spark_unix_date(a) AS CAST(spark_date(a) - DATE '1970-01-01' AS INTEGER);
CREATE MACRO spark_date_from_unix_date(n) AS CAST(DATE '1970-01-01' + CAST(n AS INTEGER) AS DATE);
CREATE MACRO spark_timestamp_seconds(n) AS make_timestamp(CAST(CAST(n AS DOUBLE) * 1000000 AS BIGINT));
CREATE MACRO spark_timestamp_millis(n) AS make_timestamp(CAST(CAST(n AS DOUBLE) * 1000 AS BIGINT));
CREATE MACRO spark_timestamp_micros(n) AS make_timestamp(CAST(n AS BIGINT));
-- DuckDB knows zones by name, not by their distance from UTC.
CREATE MACRO spark__zone(z) AS CASE WHEN regexp_full_match(z, '[+-]\d{1,2}(:\d\d)?|Z') THEN 'UTC' ELSE z END;
CREATE MACRO spark__offset(z) AS to_minutes(CASE WHEN z = 'Z' OR spark__zone(z) = z THEN 0 ELSE CAST(left(z, 1) || '1' AS BIGINT) * (60 * CAST(regexp_extract(z, '\d+') AS BIGINT) + CAST('0' || regexp_extract(z, ':(\d+)', 1) AS BIGINT)) END);
CREATE MACRO spark_from_utc_timestamp(a, z) AS timezone(spark__zone(z), timezone('UTC', spark_timestamp(a))) + spark__offset(z);
CREATE MACRO spark_to_utc_timestamp(a, z) AS timezone('UTC', timezone(spark__zone(z), spark_timestamp(a))) - spark__offset(z);
CREATE MACRO spark_convert_timezone(f, t, a) AS CAST(spark_from_utc_timestamp(spark_to_utc_timestamp(a, f), t) AS TIMESTAMP_NS), (t, a) AS CAST(spark_from_utc_timestamp(a, t) AS TIMESTAMP_NS);

-- ------------------------------------------------------------------------------------------------ arrays
CREATE MACRO spark_size(a) AS CAST(CASE WHEN typeof(a) LIKE 'MAP%' THEN len(json_keys(to_json(a))) ELSE json_array_length(to_json(a)) END AS INTEGER);
CREATE MACRO spark__at(a, i VARCHAR) AS a[i],
    (a, i) AS CASE WHEN typeof(a) LIKE '%[]' THEN CASE WHEN i < 0 OR i >= json_array_length(to_json(a)) THEN spark__no_index(i, json_array_length(to_json(a))) ELSE a[i + 1] END ELSE a[i] END;
CREATE MACRO spark_element_at(a, i VARCHAR) AS a[i],
    (a, i) AS CASE WHEN typeof(a) LIKE '%[]' AND i = 0 THEN spark__fail('[INVALID_INDEX_OF_ZERO] The index 0 is invalid. An index shall be either < 0 or > 0 (the first element has index 1). SQLSTATE: 22003') WHEN typeof(a) LIKE '%[]' AND abs(i) > json_array_length(to_json(a)) THEN spark__fail('[INVALID_ARRAY_INDEX_IN_ELEMENT_AT] The index ' || i || ' is out of bounds. The array has ' || json_array_length(to_json(a)) || ' elements. Use `try_element_at` to tolerate accessing element at invalid index and return NULL instead. SQLSTATE: 22003') ELSE a[i] END;
CREATE MACRO spark_try_element_at(a, i) AS a[i];
CREATE MACRO spark_get(a, i) AS CASE WHEN i >= 0 THEN a[i + 1] END;
CREATE MACRO spark_array_contains(a, v) AS CASE WHEN list_contains(a, v) THEN true WHEN v IS NULL OR len(list_filter(a, lambda x: x IS NULL)) > 0 THEN NULL ELSE list_contains(a, v) END;
CREATE MACRO spark_array_position(a, v) AS CASE WHEN a IS NULL OR v IS NULL THEN NULL ELSE CAST(coalesce(list_position(a, v), 0) AS BIGINT) END;
CREATE MACRO spark_array_distinct(a) AS list_filter(a, lambda x, i: list_position(a, x) = i);
CREATE MACRO spark_array_except(a, b) AS list_filter(a, lambda x, i: list_position(a, x) = i AND list_position(b, x) IS NULL);
CREATE MACRO spark_array_intersect(a, b) AS list_filter(a, lambda x, i: list_position(a, x) = i AND list_position(b, x) IS NOT NULL);
CREATE MACRO spark_array_union(a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE list_filter(list_concat(a, b), lambda x, i: list_position(list_concat(a, b), x) = i) END;
CREATE MACRO spark_array_join(a, s) AS array_to_string(list_transform(a, lambda e: spark_string(e)), s), (a, s, n) AS array_to_string(list_transform(list_transform(a, lambda e: spark_string(e)), lambda x: coalesce(x, n)), s);
-- To DuckDB, null is the greatest field of a struct and element of an array; here it is the least.
CREATE MACRO spark__nests(a) AS regexp_matches(typeof(a), 'STRUCT|\[\]\[\]');
CREATE MACRO spark__ordered(how, a) AS list_transform([a], lambda it: list_transform(json_transform(spark__places(how, typeof(it), CAST(to_json(it) AS VARCHAR)), '["INTEGER"]'), lambda place: it[place]))[1];
CREATE MACRO spark_array_max(a) AS CASE WHEN spark__nests(a) THEN spark__ordered('down', a)[1] ELSE list_max(a) END;
CREATE MACRO spark_array_min(a) AS CASE WHEN spark__nests(a) THEN spark__ordered('last', a)[1] ELSE list_min(a) END;
CREATE MACRO spark_array_remove(a, v) AS CASE WHEN v IS NOT NULL THEN list_filter(a, lambda x: x IS NULL OR x <> v) END;
CREATE MACRO spark_array_repeat(v, n) AS list_transform(range(greatest(CAST(n AS BIGINT), 0)), lambda x: v);
CREATE MACRO spark_array_sort(a) AS CASE WHEN spark__nests(a) THEN spark__ordered('last', a) ELSE list_sort(a, 'ASC', 'NULLS LAST') END;
CREATE MACRO spark_sort_array(a) AS CASE WHEN spark__nests(a) THEN spark__ordered('up', a) ELSE list_sort(a, 'ASC', 'NULLS FIRST') END,
    (a, up) AS CASE WHEN spark__nests(a) THEN spark__ordered(CASE WHEN up THEN 'up' ELSE 'down' END, a) WHEN up THEN list_sort(a, 'ASC', 'NULLS FIRST') ELSE list_sort(a, 'DESC', 'NULLS LAST') END;
CREATE MACRO spark_array_append(a, v) AS CASE WHEN a IS NOT NULL THEN list_append(a, v) END;
CREATE MACRO spark_array_prepend(a, v) AS CASE WHEN a IS NOT NULL THEN list_prepend(v, a) END;
CREATE MACRO spark_array_insert(a, p, v) AS CASE WHEN p > 0 AND p <= len(a) + 1 THEN list_concat(list_append(array_slice(a, 1, p - 1), v), array_slice(a, p, len(a))) WHEN a IS NOT NULL AND p IS NOT NULL THEN spark__fail('[UNSUPPORTED_FEATURE] The local workspace inserts into an array at positions from 1 to its size + 1 SQLSTATE: 0A000') END;
CREATE MACRO spark_array_compact(a) AS list_filter(a, lambda x: x IS NOT NULL);
CREATE MACRO spark_shuffle(a) AS list_transform(list_sort(list_transform(a, lambda x: {'by': random(), 'x': x})), lambda pair: pair.x);
CREATE MACRO spark_array_size(a) AS CAST(len(a) AS INTEGER);
CREATE MACRO spark_arrays_overlap(a, b) AS CASE WHEN list_has_any(a, b) THEN true WHEN len(a) > 0 AND len(b) > 0 AND len(list_filter(list_concat(a, b), lambda x: x IS NULL)) > 0 THEN NULL ELSE list_has_any(a, b) END;
CREATE MACRO spark_flatten(a) AS CASE WHEN len(list_filter(a, lambda x: x IS NULL)) > 0 THEN NULL ELSE flatten(a) END;
CREATE MACRO spark_slice(a, s, n) AS CASE WHEN s = 0 OR n < 0 THEN spark__fail('[INVALID_PARAMETER_VALUE] slice starts from 1, or from the end, and takes a length that is not negative SQLSTATE: 22023') WHEN s > 0 THEN array_slice(a, s, s + n - 1) WHEN -s > len(a) THEN array_slice(a, 1, 0) ELSE array_slice(a, len(a) + s + 1, len(a) + s + n) END;
CREATE MACRO spark__no_sequence(a, b, s) AS spark__fail('[INVALID_PARAMETER_VALUE] Illegal sequence boundaries: ' || a || ' to ' || b || ' by ' || s || '. SQLSTATE: 22023');
CREATE MACRO spark_sequence(a DATE, b DATE) AS CAST(generate_series(a, b, CASE WHEN a <= b THEN INTERVAL 1 DAY ELSE INTERVAL (-1) DAY END) AS DATE[]), (a TIMESTAMP, b TIMESTAMP) AS generate_series(a, b, INTERVAL 1 DAY), (a INTEGER, b INTEGER) AS CAST(generate_series(a, b, CASE WHEN a <= b THEN 1 ELSE -1 END) AS INTEGER[]), (a INTEGER, b INTEGER, s INTEGER) AS CASE WHEN sign(b - a) * s < 0 OR (s = 0 AND a <> b) THEN spark__no_sequence(a, b, s) ELSE CAST(generate_series(a, b, CASE WHEN s = 0 THEN 1 ELSE s END) AS INTEGER[]) END, (a, b) AS generate_series(a, b, CASE WHEN a <= b THEN 1 ELSE -1 END),
    (a DATE, b DATE, s INTERVAL) AS CAST(spark__moments(a, b, s) AS DATE[]), (a TIMESTAMP, b TIMESTAMP, s INTERVAL) AS spark__moments(a, b, s), (a, b, s) AS CASE WHEN sign(b - a) * s < 0 OR (s = 0 AND a <> b) THEN spark__no_sequence(a, b, s) ELSE generate_series(a, b, CASE WHEN s = 0 THEN 1 ELSE s END) END;
-- Each moment is counted from the first: a month after January 31 is the end of February, and two months after it March 31.
CREATE MACRO spark__moments(a, b, s) AS CASE WHEN (b > a AND a + s < a) OR (b < a AND a + s > a) THEN spark__no_sequence(a, b, s) ELSE list_filter(list_transform(range(len(generate_series(a, b, s)) + 1), lambda k: a + s * k), lambda it: CASE WHEN a <= b THEN it <= b ELSE it >= b END) END;
CREATE MACRO spark_any(t) AS CASE WHEN list_contains(t, true) THEN true WHEN len(list_filter(t, lambda x: x IS NULL)) > 0 THEN NULL WHEN t IS NOT NULL THEN false END;
CREATE MACRO spark_every(t) AS CASE WHEN list_contains(t, false) THEN false WHEN len(list_filter(t, lambda x: x IS NULL)) > 0 THEN NULL WHEN t IS NOT NULL THEN true END;

-- ------------------------------------------------------------------------------------------------ maps and JSON
CREATE MACRO spark_map_from_arrays(k, v) AS map(k, v);
CREATE MACRO spark_map_contains_key(m, k) AS list_contains(map_keys(m), k);
CREATE MACRO spark__pairs(a, p, q) AS map_from_entries(list_transform(string_split_regex(a, p), lambda x: {'key': regexp_extract(x, '^(?s:(.*?))(?:(?:' || q || ')|$)', 1), 'value': CASE WHEN regexp_matches(x, q) THEN regexp_replace(x, '^(?s:.*?)(?:' || q || ')', '') END}));
CREATE MACRO spark_str_to_map(a) AS spark__pairs(a, ',', ':'), (a, p) AS spark__pairs(a, p, ':'), (a, p, q) AS spark__pairs(a, p, q);
CREATE MACRO spark_to_json(a) AS spark__json_text(typeof(a), CAST(to_json(a) AS VARCHAR));
CREATE MACRO spark_get_json_object(a, p) AS CASE WHEN json_valid(a) AND starts_with(p, '$') THEN CASE WHEN p = '$' THEN a WHEN contains(p, '*') THEN spark__matches_of_path(a, p) ELSE CAST(json_extract_string(a, CASE WHEN contains(p, '*') THEN '$' ELSE p END) AS VARCHAR) END END;
CREATE MACRO spark__key_at(a, p) AS CASE WHEN json_valid(a) THEN json_extract_string(a, p) END;
CREATE MACRO spark_json_array_length(a) AS CASE WHEN json_valid(a) AND json_type(a) = 'ARRAY' THEN CAST(json_array_length(a) AS INTEGER) END;
CREATE MACRO spark_json_object_keys(a) AS CASE WHEN json_valid(a) AND json_type(a) = 'OBJECT' THEN json_keys(a) END;
CREATE MACRO spark__path(a, p) AS CASE WHEN typeof(a) = 'JSON' THEN CAST(json_extract(a, p) AS VARCHAR) ELSE json_extract_string(a, p) END;
CREATE MACRO spark_parse_json(a) AS CASE WHEN a IS NULL OR json_valid(a) THEN CAST(spark__variant_text(a) AS JSON) ELSE spark__fail('[MALFORMED_RECORD_IN_PARSING] Malformed records are detected in record parsing: ' || a || ' SQLSTATE: 22023') END;
CREATE MACRO spark_try_parse_json(a) AS CASE WHEN json_valid(a) THEN CAST(spark__variant_text(a) AS JSON) END;
CREATE MACRO spark__variant_items(a) AS list_transform([a], lambda it: CASE json_type(it)
    WHEN 'ARRAY' THEN list_transform(json_extract(it, '$[*]'), lambda value, place: {'pos': CAST(place - 1 AS INTEGER), 'key': CAST(NULL AS VARCHAR), 'value': value})
    WHEN 'OBJECT' THEN list_transform(list_sort(json_keys(it)), lambda key, place: {'pos': CAST(place - 1 AS INTEGER), 'key': key, 'value': json_extract(it, '/' || replace(replace(key, '~', '~0'), '/', '~1'))}) END)[1];
CREATE MACRO spark_is_variant_null(a) AS coalesce(json_type(a) = 'NULL', false);

-- A value that is null leaves the hash as it is.
CREATE MACRO spark__hash_of(seed, a) AS CASE WHEN a IS NULL THEN seed ELSE CAST(spark__hashed('hash ' || seed, typeof(a), CAST(to_json(a) AS VARCHAR)) AS INTEGER) END;
CREATE MACRO spark__xxhash64_of(seed, a) AS CASE WHEN a IS NULL THEN seed ELSE CAST(spark__hashed('xxhash64 ' || seed, typeof(a), CAST(to_json(a) AS VARCHAR)) AS BIGINT) END;

-- ------------------------------------------------------------------------------------------------ types
CREATE MACRO spark_typeof(a) AS spark__type_name(typeof(a));
