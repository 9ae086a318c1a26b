"Packaging for covid_xray: everything is read from settings.ini, nbdev's single place for it"
import shlex
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
minor = int(cfg['min_python'].split('.')[1])

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=Path('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    author=cfg['author'],
    author_email=cfg['author_email'],
    url=cfg['git_url'],
    keywords=cfg['keywords'],
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Education',
        'Natural Language :: English',
        *(f'Programming Language :: Python :: 3.{m}' for m in range(minor, 14)),
    ],
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=['covid_xray', 'covid_xray.*']),
    install_requires=shlex.split(cfg['requirements']),
    extras_require={'dev': shlex.split(cfg['dev_requirements'])},
    entry_points={'console_scripts': shlex.split(cfg['console_scripts'])},
    zip_safe=False,
)
